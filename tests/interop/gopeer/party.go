// What a party's CLI does: reads a key file, signs the role word, streams an upload, fetches a result.
package main

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"io"
	"os"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// readKey follows the label rules of the seed-era CLI: PRIVATE KEY is PKCS#8, else PKCS#1.
func readKey(path string) (crypto.Signer, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("no PEM block")
	}
	switch block.Type {
	case "PRIVATE KEY":
		if key, err := x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
			return key.(crypto.Signer), nil
		}
		return x509.ParsePKCS1PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		return x509.ParseECPrivateKey(block.Bytes)
	}
	return nil, errors.New("error decoding key")
}

func sign(key crypto.Signer, text string) ([]byte, error) {
	digest := sha256.Sum256([]byte(text))
	switch k := key.(type) {
	case *rsa.PrivateKey:
		return rsa.SignPKCS1v15(rand.Reader, k, crypto.SHA256, digest[:])
	case *ecdsa.PrivateKey:
		return ecdsa.SignASN1(rand.Reader, k, digest[:])
	case ed25519.PrivateKey:
		return ed25519.Sign(k, []byte(text)), nil
	}
	return nil, errors.New("unknown kind of key")
}

// signed puts role and signature into the outgoing metadata.
func (o *options) signed(ctx context.Context, role string) (context.Context, error) {
	if o.role != "" {
		role = o.role
	}
	key, err := readKey(o.private)
	if err != nil {
		return nil, err
	}
	signature, err := sign(key, role)
	if err != nil {
		return nil, err
	}
	return metadata.AppendToOutgoingContext(ctx,
		"user-id", role, "signature", base64.StdEncoding.EncodeToString(signature)), nil
}

// pieces calls send with each piece of a file.
func pieces(path string, send func([]byte) error) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	buffer := make([]byte, chunk)
	for {
		n, err := io.ReadFull(file, buffer)
		if n > 0 {
			if err := send(buffer[:n]); err != nil {
				return err
			}
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// upload streams messages; a refusal that comes early ends the sending and is what is returned.
func upload(ctx context.Context, conn *grpc.ClientConn, method string, send func(func(message) error) error) error {
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true}, method)
	if err != nil {
		return err
	}
	sent := 0
	err = send(func(m message) error {
		if err := stream.SendMsg(&frame{m}); err != nil {
			return err
		}
		sent++
		return nil
	})
	if err != nil && err != io.EOF {
		return err
	}
	if err == nil {
		if err := stream.CloseSend(); err != nil {
			return err
		}
	}
	var answer frame
	if err := stream.RecvMsg(&answer); err != nil {
		return err
	}
	say(object{"ok": true, "sent": sent, "answer": len(answer.bytes)})
	return nil
}

func algo(ctx context.Context, conn *grpc.ClientConn, o *options) error {
	ctx, err := o.signed(ctx, "algorithm-provider")
	if err != nil {
		return err
	}
	ctx = metadata.AppendToOutgoingContext(ctx, "algo_type", o.algoType, "python_runtime", o.runtime)
	for _, arg := range o.args {
		ctx = metadata.AppendToOutgoingContext(ctx, "algo_args", arg)
	}
	return upload(ctx, conn, "/agent.AgentService/Algo", func(send func(message) error) error {
		if o.requirements != "" {
			if err := pieces(o.requirements, func(b []byte) error { return send(message{}.bytes(2, b)) }); err != nil {
				return err
			}
		}
		return pieces(o.file, func(b []byte) error { return send(message{}.bytes(1, b)) })
	})
}

func data(ctx context.Context, conn *grpc.ClientConn, o *options) error {
	ctx, err := o.signed(ctx, "data-provider")
	if err != nil {
		return err
	}
	ctx = metadata.AppendToOutgoingContext(ctx, "decompress", o.decompress)
	return upload(ctx, conn, "/agent.AgentService/Data", func(send func(message) error) error {
		return pieces(o.file, func(b []byte) error { return send(message{}.bytes(1, b).text(2, o.filename)) })
	})
}

func result(ctx context.Context, conn *grpc.ClientConn, o *options) error {
	ctx, err := o.signed(ctx, "consumer")
	if err != nil {
		return err
	}
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, "/agent.AgentService/Result")
	if err != nil {
		return err
	}
	if err := stream.SendMsg(&frame{}); err != nil {
		return err
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	header, err := stream.Header()
	if err != nil {
		return err
	}
	out, err := os.Create(o.out)
	if err != nil {
		return err
	}
	defer out.Close()
	var sizes []int
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
		piece := f.text(1)
		sizes = append(sizes, len(piece))
		if _, err := out.WriteString(piece); err != nil {
			return err
		}
	}
	say(object{"ok": true, "size": header.Get("file-size"), "pieces": sizes})
	return nil
}
