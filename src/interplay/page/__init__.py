"""One HTML page that holds everything: it draws the results of the analysis and computes nothing."""
