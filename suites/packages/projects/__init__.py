"""How somebody comes to the tables of a package that has no module with all of them; run with the package installed."""
