// A peer of the house that is written in Go over grpc-go: a party's CLI, a manager's client, an agent
// and a management server, as the Go Cocos programs speak. It prints JSON lines; tests read them.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

// chunk is the size of every piece of a file or manifest.
const chunk = 1024 * 1024

// options are the flags all roles share.
type options struct {
	addr, ca, cert, key                      string
	private, file, filename, requirements    string
	algoType, runtime, role, out, decompress string
	args                                     list
	datasets, publics                        list
	algoKey, id, port, ttl, url, cvm         string
	digest, pin                              string
	timeout                                  time.Duration
}

type list []string

func (l *list) String() string     { return fmt.Sprint(*l) }
func (l *list) Set(s string) error { *l = append(*l, s); return nil }

// say prints one JSON line.
func say(value any) {
	line, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	fmt.Println(string(line))
}

type object = map[string]any

// failure prints what an error is to a gRPC client.
func failure(err error) {
	s, _ := status.FromError(err)
	say(object{"code": int(s.Code()), "message": s.Message()})
}

func pool(path string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	p := x509.NewCertPool()
	if !p.AppendCertsFromPEM(pem) {
		return nil, errors.New("no certificate in " + path)
	}
	return p, nil
}

// clientCredentials picks none, TLS or mTLS by which files are given, as the Go programs do.
func (o *options) clientCredentials() (credentials.TransportCredentials, error) {
	if o.pin != "" {
		return pinned(o.pin), nil
	}
	if o.ca == "" && o.cert == "" {
		return insecure.NewCredentials(), nil
	}
	c := &tls.Config{}
	if o.ca != "" {
		p, err := pool(o.ca)
		if err != nil {
			return nil, err
		}
		c.RootCAs = p
	}
	if o.cert != "" {
		pair, err := tls.LoadX509KeyPair(o.cert, o.key)
		if err != nil {
			return nil, err
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return credentials.NewTLS(c), nil
}

// serverCredentials is the other end; a client CA makes client certificates mandatory.
func (o *options) serverCredentials() (credentials.TransportCredentials, error) {
	if o.cert == "" {
		return insecure.NewCredentials(), nil
	}
	pair, err := tls.LoadX509KeyPair(o.cert, o.key)
	if err != nil {
		return nil, err
	}
	c := &tls.Config{Certificates: []tls.Certificate{pair}}
	if o.ca != "" {
		p, err := pool(o.ca)
		if err != nil {
			return nil, err
		}
		c.ClientCAs = p
		c.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return credentials.NewTLS(c), nil
}

func (o *options) dial() (*grpc.ClientConn, error) {
	c, err := o.clientCredentials()
	if err != nil {
		return nil, err
	}
	return grpc.NewClient(o.addr, grpc.WithTransportCredentials(c))
}

// checkHealth asks for a service name and prints SERVING or the refusal.
func checkHealth(ctx context.Context, conn *grpc.ClientConn, o *options) error {
	r, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: o.role})
	if err != nil {
		return err
	}
	say(object{"health": r.Status.String()})
	return nil
}

func main() {
	var o options
	f := flag.NewFlagSet("gopeer", flag.ExitOnError)
	f.StringVar(&o.addr, "addr", "", "address to dial or to listen on")
	f.StringVar(&o.ca, "ca", "", "authority of the other side's certificate")
	f.StringVar(&o.cert, "cert", "", "own certificate")
	f.StringVar(&o.key, "key", "", "own certificate's key")
	f.StringVar(&o.private, "private", "", "private key of the party")
	f.StringVar(&o.role, "role", "", "role word to sign, if not the method's; service name for health")
	f.StringVar(&o.file, "file", "", "file to send")
	f.StringVar(&o.filename, "filename", "", "name to send with it")
	f.StringVar(&o.requirements, "requirements", "", "requirements file")
	f.StringVar(&o.algoType, "type", "bin", "algorithm type")
	f.StringVar(&o.runtime, "runtime", "python3", "python runtime")
	f.StringVar(&o.decompress, "decompress", "false", "decompress word")
	f.StringVar(&o.out, "out", "", "where to write a result, or what to serve as one")
	f.Var(&o.args, "arg", "argument of the algorithm")
	f.StringVar(&o.id, "id", "", "id to ask for, or of the computation")
	f.StringVar(&o.ttl, "ttl", "", "life of a VM")
	f.StringVar(&o.url, "url", "", "server URL for a VM")
	f.StringVar(&o.port, "port", "7002", "agent port in a manifest")
	f.Var(&o.datasets, "dataset", "digest:keyfile:name of a dataset in a manifest")
	f.StringVar(&o.algoKey, "algorithm", "", "digest:keyfile of the algorithm in a manifest")
	f.Var(&o.publics, "consumer", "public key file of a consumer in a manifest")
	f.StringVar(&o.digest, "digest", "", "digest of the manifest that was approved")
	f.StringVar(&o.pin, "pin", "", "SHA-256 of the server's SubjectPublicKeyInfo")
	f.DurationVar(&o.timeout, "timeout", time.Minute, "longest life of this program")
	if len(os.Args) < 2 {
		f.Usage()
		os.Exit(2)
	}
	_ = f.Parse(os.Args[2:])
	ctx, cancel := context.WithTimeout(context.Background(), o.timeout)
	defer cancel()

	switch os.Args[1] {
	case "cvms":
		exit(serveCvms(ctx, &o))
	case "door":
		exit(serveDoor(ctx, &o))
	}
	conn, err := o.dial()
	if err != nil {
		exit(err)
	}
	run, ok := map[string]func(context.Context, *grpc.ClientConn, *options) error{
		"health": checkHealth, "algo": algo, "data": data, "result": result,
		"create": createVM, "remove": removeVM, "info": info, "policy": policy, "agent": playAgent,
		"strict-algo": strictAlgo, "strict-data": strictData, "strict-result": strictResult,
	}[os.Args[1]]
	if !ok {
		f.Usage()
		os.Exit(2)
	}
	err = run(ctx, conn, &o)
	conn.Close()
	exit(err)
}

func exit(err error) {
	if err == nil {
		os.Exit(0)
	}
	failure(err)
	os.Exit(1)
}
