"""The backend `fused`: the gradient of each recurrent kernel is one product after the loop."""
