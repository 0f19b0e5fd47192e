// The front door of an agent, as our CLI meets it: health, signed uploads, a result with its size.
package main

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"io"
	"net"
	"os"
	"strconv"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

func verify(key any, text string, signature []byte) bool {
	digest := sha256.Sum256([]byte(text))
	switch k := key.(type) {
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(k, crypto.SHA256, digest[:], signature) == nil
	case *ecdsa.PublicKey:
		return ecdsa.VerifyASN1(k, digest[:], signature)
	case ed25519.PublicKey:
		return ed25519.Verify(k, []byte(text), signature)
	}
	return false
}

// authorize checks the one signature of a call over its role word, with the texts of a Go agent.
func authorize(ctx context.Context, key any, role string) (metadata.MD, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	values := md.Get("signature")
	if len(values) != 1 {
		return nil, status.Error(codes.Unauthenticated, "rpc error: code = Unauthenticated desc = invalid metadata : invalid metadata")
	}
	signature, err := base64.StdEncoding.DecodeString(values[0])
	if err != nil || !verify(key, role, signature) {
		return nil, status.Error(codes.Unauthenticated, "signature verification failed")
	}
	return md, nil
}

// serveDoor takes uploads signed by the first consumer key and serves the file of -out as result.
func serveDoor(ctx context.Context, o *options) error {
	der, err := spki(o.publics[0])
	if err != nil {
		return err
	}
	key, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return err
	}
	creds, err := o.serverCredentials()
	if err != nil {
		return err
	}
	receive := func(method, role string) grpc.StreamDesc {
		return grpc.StreamDesc{StreamName: method, ClientStreams: true, Handler: func(_ any, stream grpc.ServerStream) error {
			md, err := authorize(stream.Context(), key, role)
			if err != nil {
				return err
			}
			sums := map[uint64][]byte{}
			hashes := map[uint64]io.Writer{}
			var sizes []int
			var filename string
			for {
				var m frame
				err := stream.RecvMsg(&m)
				if err == io.EOF {
					break
				}
				if err != nil {
					return err
				}
				f, err := parse(m.bytes)
				if err != nil {
					return err
				}
				for _, number := range []uint64{1, 2} {
					if method == "Data" && number == 2 {
						filename = f.text(2)
						continue
					}
					if f.has(number) {
						h, ok := hashes[number]
						if !ok {
							h = sha256.New()
							hashes[number] = h
						}
						sizes = append(sizes, len(f.text(number)))
						_, _ = h.Write([]byte(f.text(number)))
						sums[number] = h.(interface{ Sum([]byte) []byte }).Sum(nil)
					}
				}
			}
			say(object{
				"method": method, "pieces": sizes, "filename": filename, "user": md.Get("user-id"),
				"type": md.Get("algo_type"), "args": md.Get("algo_args"), "runtime": md.Get("python_runtime"),
				"decompress": md.Get("decompress"), "sha256": hex.EncodeToString(sums[1]),
			})
			return stream.SendMsg(&frame{})
		}}
	}
	result := grpc.StreamDesc{StreamName: "Result", ServerStreams: true, Handler: func(_ any, stream grpc.ServerStream) error {
		if _, err := authorize(stream.Context(), key, "consumer"); err != nil {
			return err
		}
		var m frame
		if err := stream.RecvMsg(&m); err != nil {
			return err
		}
		file, err := os.ReadFile(o.out)
		if err != nil {
			return status.Error(codes.Unknown, "computation results are not yet ready")
		}
		if err := stream.SendHeader(metadata.Pairs("file-size", strconv.Itoa(len(file)))); err != nil {
			return err
		}
		for at := 0; at < len(file); at += chunk {
			piece := file[at:min(at+chunk, len(file))]
			if err := stream.SendMsg(&frame{message{}.bytes(1, piece)}); err != nil {
				return err
			}
		}
		return nil
	}}
	server := grpc.NewServer(grpc.Creds(creds))
	checks := health.NewServer()
	checks.SetServingStatus("agent", grpc_health_v1.HealthCheckResponse_SERVING)
	grpc_health_v1.RegisterHealthServer(server, checks)
	server.RegisterService(&grpc.ServiceDesc{
		ServiceName: "agent.AgentService",
		HandlerType: (*any)(nil),
		Streams:     []grpc.StreamDesc{receive("Algo", "algorithm-provider"), receive("Data", "data-provider"), result},
	}, nil)
	listener, err := net.Listen("tcp", o.addr)
	if err != nil {
		return err
	}
	go func() {
		// The test holds standard input open for as long as it needs this program.
		_, _ = io.Copy(io.Discard, os.Stdin)
		server.Stop()
	}()
	say(object{"listening": listener.Addr().String()})
	return server.Serve(listener)
}
