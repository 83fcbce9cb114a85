"""Recognition: from a picture to its faces and their emotions, without torch."""
