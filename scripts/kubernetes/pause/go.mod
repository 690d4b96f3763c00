// The process that holds the namespaces of a Pod in the Kubernetes tests.
module perdure/scripts/kubernetes/pause

go 1.24.0
