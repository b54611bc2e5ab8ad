"""Steps of training: from packs to weights, resumed to the bit, with an account of where the time went."""
