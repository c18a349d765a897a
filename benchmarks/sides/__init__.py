"""What runs in the fresh processes: one module per case, one public function per side."""
