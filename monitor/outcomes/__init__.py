"""Labels that come late, joined to the predictions that they are about: bounded, and exact over crashes."""
