package registry

// What tests outside of the package use of the API server in this one.
type APIServer = apiServer

var (
	NewAPIServer = newAPIServer
	Spec         = spec
)

func (a *apiServer) Put(name, spec string) { a.set(name, spec) }

func (a *apiServer) BeDown(down bool) { a.beDown(down) }

func (a *apiServer) Config() Kubernetes { return a.config() }
