"""From agents through steps and routes to producers, with acknowledgements on the way back."""
