"""What tests share: scripted engines, made-up data, and templates."""
