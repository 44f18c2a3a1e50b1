"""Everything that can change the model: pure modules, and the stages that use them."""
