"""Pure losses: arrays in, one value per prediction out."""
