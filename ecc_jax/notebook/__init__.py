"""What a notebook needs to click on an own slice: read it, click, draw, save."""
