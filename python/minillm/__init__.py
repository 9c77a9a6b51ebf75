"""From raw text to a trained, served language model."""
