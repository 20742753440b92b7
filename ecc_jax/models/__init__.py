"""Networks: RITM and FocalClick on HRNetV2 + OCR, U-Net++ on a residual network."""
