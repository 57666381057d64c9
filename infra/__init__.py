"""Deploys and operates the system: template, migrations, local stack and command line."""
