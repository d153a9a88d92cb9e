"""mcr-connect: frozen contrastive spaces and unpaired data go in, one connected space comes out."""
