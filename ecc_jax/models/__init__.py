"""Networks: HRNetV2 + OCR with RITM fusion."""
