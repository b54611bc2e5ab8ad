"""Packs in the forms that trainers read, one file per trainer."""
