"""Shipped settings; read by `wsi_necrosis.settings`."""
