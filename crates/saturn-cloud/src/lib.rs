//! saturn-cloud
