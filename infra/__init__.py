"""How it is deployed: the template, the migrations, the local stack and the command line."""
