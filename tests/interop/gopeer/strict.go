// What a party does in strict mode, written from docs/protocol.md alone: reads the agent's manifest,
// compares its digest with the approved one, and signs each call over a challenge of its connection.
package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/sha3"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
)

const partyService = "/cocos.agent.v1.PartyService/"

// pinned is TLS 1.3 with a server known by the SHA-256 of its SubjectPublicKeyInfo alone.
func pinned(pin string) credentials.TransportCredentials {
	return credentials.NewTLS(&tls.Config{
		MinVersion:         tls.VersionTLS13,
		InsecureSkipVerify: true,
		VerifyConnection: func(state tls.ConnectionState) error {
			sum := sha256.Sum256(state.PeerCertificates[0].RawSubjectPublicKeyInfo)
			if hex.EncodeToString(sum[:]) != pin {
				return errors.New("another key than the pinned one")
			}
			return nil
		},
	})
}

// partyCall calls a method with a message.
func partyCall(ctx context.Context, conn *grpc.ClientConn, method string, m message) (fields, error) {
	var answer frame
	if err := conn.Invoke(ctx, method, &frame{m}, &answer); err != nil {
		return fields{}, err
	}
	return parse(answer.bytes)
}

// canonical is RFC 8785 for what stands in a request: the encoder sorts the keys, no value needs an
// escape that the two disagree on.
func canonical(value object) ([]byte, error) {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), nil
}

// approved compares the agent's manifest with what was approved, and gives id and digest.
func approved(ctx context.Context, conn *grpc.ClientConn, digest string) (string, []byte, error) {
	answer, err := partyCall(ctx, conn, partyService+"Manifest", nil)
	if err != nil {
		return "", nil, err
	}
	text := answer.text(1)
	sum := sha3.Sum256([]byte("cocos-manifest-v1\n" + text))
	if hex.EncodeToString(sum[:]) != digest {
		return "", nil, fmt.Errorf("the agent's manifest has the digest %x", sum)
	}
	var manifest struct{ ID string }
	err = json.Unmarshal([]byte(text), &manifest)
	return manifest.ID, sum[:], err
}

// strictly signs one call; payload and size are those of the upload.
func (o *options) strictly(ctx context.Context, conn *grpc.ClientConn, method, item, payload string, size int) (context.Context, error) {
	id, manifest, err := approved(ctx, conn, o.digest)
	if err != nil {
		return nil, err
	}
	answer, err := partyCall(ctx, conn, partyService+"Challenge", message{}.text(1, id).bytes(2, manifest))
	if err != nil {
		return nil, err
	}
	text, err := canonical(object{
		"version": 1, "method": method, "computation": id, "manifest": hex.EncodeToString(manifest),
		"item": item, "payload": payload, "size": size,
		"challenge": hex.EncodeToString([]byte(answer.text(1))), "channel": "", "lifetime": 30,
	})
	if err != nil {
		return nil, err
	}
	key, err := readKey(o.private)
	if err != nil {
		return nil, err
	}
	signature, err := sign(key, "cocos-request-v1\n"+string(text))
	if err != nil {
		return nil, err
	}
	return metadata.AppendToOutgoingContext(ctx,
		"cocos-request", base64.StdEncoding.EncodeToString(text),
		"signature", base64.StdEncoding.EncodeToString(signature)), nil
}

// payloadOf is the SHA3-256 of a file and its size.
func payloadOf(path string) (string, int, error) {
	content, err := os.ReadFile(path)
	sum := sha3.Sum256(content)
	return hex.EncodeToString(sum[:]), len(content), err
}

func strictAlgo(ctx context.Context, conn *grpc.ClientConn, o *options) error {
	return strictUpload(ctx, conn, o, "/agent.AgentService/Algo", "algorithm", 1)
}

func strictData(ctx context.Context, conn *grpc.ClientConn, o *options) error {
	return strictUpload(ctx, conn, o, "/agent.AgentService/Data", "dataset:"+o.filename, 1)
}

func strictUpload(ctx context.Context, conn *grpc.ClientConn, o *options, method, item string, field uint64) error {
	payload, size, err := payloadOf(o.file)
	if err != nil {
		return err
	}
	ctx, err = o.strictly(ctx, conn, method, item, payload, size)
	if err != nil {
		return err
	}
	return upload(ctx, conn, method, func(send func(message) error) error {
		return pieces(o.file, func(b []byte) error { return send(message{}.bytes(field, b)) })
	})
}

// strictResult fetches the archive and acknowledges it with its digest.
func strictResult(ctx context.Context, conn *grpc.ClientConn, o *options) error {
	const method = "/agent.AgentService/Result"
	signed, err := o.strictly(ctx, conn, method, "result", "", 0)
	if err != nil {
		return err
	}
	stream, err := conn.NewStream(signed, &grpc.StreamDesc{ServerStreams: true}, method)
	if err != nil {
		return err
	}
	if err := errors.Join(stream.SendMsg(&frame{}), stream.CloseSend()); err != nil {
		return err
	}
	var archive []byte
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
		archive = append(archive, f.text(1)...)
	}
	if err := os.WriteFile(o.out, archive, 0o600); err != nil {
		return err
	}
	sum := sha3.Sum256(archive)
	digest := hex.EncodeToString(sum[:])
	signed, err = o.strictly(ctx, conn, partyService+"Acknowledge", "result", digest, len(archive))
	if err != nil {
		return err
	}
	if _, err := partyCall(signed, conn, partyService+"Acknowledge", message{}.bytes(1, sum[:])); err != nil {
		return err
	}
	header, err := stream.Header()
	if err != nil {
		return err
	}
	same := len(header.Get("cocos-digest")) == 1 && header.Get("cocos-digest")[0] == digest
	say(object{"ok": true, "size": len(archive), "announced": same})
	return nil
}
