"""How well the model decides: estimated before labels come, realised after."""
