package registry

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/longline/longline/internal/reload"
	"github.com/longline/longline/internal/setting"
)

// Kubernetes finds the pods of a Kubernetes service.
type Kubernetes struct {
	Service   string         `yaml:"service" help:"the name of the service"`
	Namespace string         `yaml:"namespace" help:"where it is; left out, where the gateway's pod is, or default if there is an address"`
	Port      string         `yaml:"port" help:"name of a port of the service, or number of the pods' port (targetPort); may be left out if there is one"`
	Scheme    string         `yaml:"scheme" help:"http or https: how the instances are called"`
	Address   string         `yaml:"address" help:"URL of the API server; left out, that of the cluster in which the gateway is a pod, with its service account"`
	Token     setting.Secret `yaml:"token" help:"bearer token; it needs list and watch of endpointslices of discovery.k8s.io"`
	TLS       setting.TLS    `yaml:"tls" help:"for the API server"`
}

// serviceAccount is the directory in which a pod has what its service account needs.
var serviceAccount = "/var/run/secrets/kubernetes.io/serviceaccount"

func (k *Kubernetes) given() bool { return isGiven(k) }

// setDefaults leaves an empty address: it stands for the cluster in which the gateway is.
func (k *Kubernetes) setDefaults() {
	k.Scheme = cmp.Or(k.Scheme, "http")
	if k.Address != "" {
		k.Namespace = cmp.Or(k.Namespace, "default")
	}
}

func (k *Kubernetes) validate(key string) error {
	switch {
	case k.Service == "":
		return fmt.Errorf("%s.service: it is missing", key)
	case !slices.Contains(schemes, k.Scheme):
		return fmt.Errorf("%s.scheme: want http or https, not %q", key, k.Scheme)
	}
	if err := k.TLS.Validate(); err != nil {
		return fmt.Errorf("%s.tls.%w", key, err)
	}
	if k.Address != "" {
		return validAddress(key+".address", k.Address)
	}
	if clusterAddress() == "" {
		return fmt.Errorf("%s.address: it is missing, and the gateway is no pod: KUBERNETES_SERVICE_HOST is not set", key)
	}
	return nil
}

// clusterAddress returns the URL of the API server of the cluster in which the gateway is a pod, or an empty string.
func clusterAddress() string {
	host, port := os.Getenv("KUBERNETES_SERVICE_HOST"), os.Getenv("KUBERNETES_SERVICE_PORT")
	if host == "" {
		return ""
	}
	return "https://" + net.JoinHostPort(host, cmp.Or(port, "443"))
}

func (k *Kubernetes) open(w *reload.Watcher) (Discovery, error) {
	c := *k
	if c.Address == "" {
		c.Address = clusterAddress()
		c.TLS.CA = cmp.Or(c.TLS.CA, serviceAccount+"/ca.crt")
		if !c.Token.Given() {
			c.Token = setting.SecretFile(serviceAccount + "/token")
		}
		if c.Namespace == "" {
			text, err := reload.Read(serviceAccount + "/namespace")
			if err != nil {
				return nil, fmt.Errorf("namespace: %w", err)
			}
			c.Namespace = strings.TrimSpace(string(text))
		}
	}
	token, err := c.Token.Follow(w, nil)
	if err != nil {
		return nil, fmt.Errorf("token_file: %w", err)
	}
	caller, err := newClient(c.Address, c.TLS, w)
	if err != nil {
		return nil, err
	}
	return &kubernetes{config: c, client: caller, token: token}, nil
}

// kubernetes is the Discovery of Kubernetes. It lists the EndpointSlices of a service, and then watches them
// (https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes): a watch tells what
// has changed since a version, or that this is too long ago.
type kubernetes struct {
	config Kubernetes
	client *client
	token  func() []byte

	known  *endpoints // nil if they have to be listed
	listed time.Time
}

// relist is how long watches go on until the slices are listed again: a cluster that was restored from a backup has lower versions than
// before, and tells a watch nothing for a long time.
const relist = 5 * time.Minute

// errGone says that a version is too long ago for a watch.
var errGone = errors.New("the changes since the last answer are not known any more")

func (k *kubernetes) Pause() time.Duration { return 0 }

func (k *kubernetes) Close() { k.client.close() }

func (k *kubernetes) Find(ctx context.Context) ([]Instance, error) {
	known := k.known
	k.known = nil // unless all goes well
	err := errGone
	if known != nil && time.Since(k.listed) < relist {
		err = k.watch(ctx, known)
	}
	if errors.Is(err, errGone) {
		known, err = k.list(ctx)
	}
	if err != nil {
		return nil, err
	}
	all, err := known.instances(k.config.Scheme)
	if err != nil {
		return nil, err
	}
	k.known = known
	return all, nil
}

func (k *kubernetes) list(ctx context.Context) (*endpoints, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	_, body, err := k.client.get(ctx, k.path(), k.query(), k.header())
	if err != nil {
		return nil, err
	}
	k.listed = time.Now()
	return parseSlices(body, k.config.Port)
}

// watch waits until something that is known changes, or for a while.
func (k *kubernetes) watch(ctx context.Context, known *endpoints) error {
	ctx, cancel := context.WithTimeout(ctx, holdTime+answerTime)
	defer cancel()
	query := k.query()
	query.Set("watch", "1")
	query.Set("allowWatchBookmarks", "true")
	query.Set("resourceVersion", known.version)
	query.Set("timeoutSeconds", strconv.Itoa(int(holdTime.Seconds())))
	response, err := k.client.open(ctx, k.path(), query, k.header())
	var status *statusError
	if errors.As(err, &status) && status.status == http.StatusGone {
		return errGone
	}
	if err != nil {
		return err
	}
	defer response.Body.Close()
	return known.follow(response.Body)
}

func (k *kubernetes) path() string {
	return "/apis/discovery.k8s.io/v1/namespaces/" + url.PathEscape(k.config.Namespace) + "/endpointslices"
}

func (k *kubernetes) query() url.Values {
	return url.Values{"labelSelector": {"kubernetes.io/service-name=" + k.config.Service}}
}

func (k *kubernetes) header() http.Header {
	header := http.Header{"Accept": {"application/json"}}
	if token := k.token(); len(token) > 0 {
		header.Set("Authorization", "Bearer "+string(token))
	}
	return header
}

// maxEvents bounds the events of a watch that change nothing; Follow pauses before the next watch.
const maxEvents = 1000

// follow applies the events of a watch until one changes something, or the watch ends.
func (e *endpoints) follow(events io.Reader) error {
	limited := &io.LimitedReader{R: events}
	d := json.NewDecoder(limited)
	for range maxEvents {
		limited.N = maxAnswer // for each event
		var event watchEvent
		err := d.Decode(&event)
		switch {
		case errors.Is(err, io.EOF) && limited.N > 0:
			return nil
		case err != nil:
			return fmt.Errorf("an event of the API server is cut, or larger than %d bytes: %w", maxAnswer, err)
		}
		if changed, err := e.apply(&event); changed || err != nil {
			return err
		}
	}
	return nil
}
