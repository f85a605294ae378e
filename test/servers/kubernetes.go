package servers

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

// Cluster is a Kubernetes that is no more than its API server, with an etcd behind it: no nodes, and nothing that makes objects of others.
type Cluster struct {
	*Server
	Token string // of an administrator
}

// Kubernetes starts a Kubernetes.
func Kubernetes(t testing.TB) *Cluster {
	t.Helper()
	etcd := Start(t, Program{
		Name:  "etcd",
		Ports: []int{0, 1},
		Command: func(installed string, port int) []string {
			clients, peers := fmt.Sprintf("http://127.0.0.1:%d", port), fmt.Sprintf("http://127.0.0.1:%d", port+1)
			return []string{
				installed + "/usr/bin/etcd", "--data-dir=data", "--log-level=error", "--listen-client-urls=" + clients,
				"--advertise-client-urls=" + clients, "--listen-peer-urls=" + peers,
				"--initial-advertise-peer-urls=" + peers, "--initial-cluster=default=" + peers,
			}
		},
		Ready: Answers("/health", "true"),
	})
	token, files := rand.Text(), t.TempDir()
	tokens, key := filepath.Join(files, "tokens.csv"), filepath.Join(files, "accounts.key")
	write(t, tokens, []byte(token+",admin,admin,system:masters\n"))
	write(t, key, newKey(t))
	insecure := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} //nolint:gosec // its own certificate
	return &Cluster{Token: token, Server: Start(t, Program{
		Name:  "kubernetes",
		Ports: []int{0},
		Command: func(installed string, port int) []string {
			return []string{
				installed + "/kube-apiserver", "--etcd-servers=" + etcd.URL(""), "--bind-address=127.0.0.1", "--secure-port=" + strconv.Itoa(port),
				"--cert-dir=certificates", "--token-auth-file=" + tokens, "--authorization-mode=RBAC", "--service-account-key-file=" + key,
				"--service-account-signing-key-file=" + key, "--service-account-issuer=https://kubernetes.default.svc",
				"--service-cluster-ip-range=10.96.0.0/16", "--endpoint-reconciler-type=none", "--profiling=false",
			}
		},
		Ready: func(ctx context.Context, port int) error {
			url := fmt.Sprintf("https://127.0.0.1:%d/readyz", port)
			return answers(ctx, insecure, url, http.Header{"Authorization": {"Bearer " + token}}, "ok")
		},
	})}
}

// URL returns the API server's URL with this path.
func (c *Cluster) URL(path string) string { return "https://" + c.Address() + path }

// CA returns the name of the file with the authority of the API server's certificate.
func (c *Cluster) CA() string { return filepath.Join(c.Dir, "certificates/apiserver.crt") }

func write(t testing.TB, name string, text []byte) {
	t.Helper()
	if err := os.WriteFile(name, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// newKey returns a private key as PEM.
func newKey(t testing.TB) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})
}
