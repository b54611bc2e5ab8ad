"""When and where it runs: the command line, profiles and clusters. The only room that calls ray.init."""
