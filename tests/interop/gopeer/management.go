// Both ends of the management channel: an agent that dials a management server, and a management
// server that gives a manifest to an agent and steers it by words on standard input.
package main

import (
	"bufio"
	"context"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/peer"
)

const processMethod = "/cvms.Service/Process"

func now() message {
	return message{}.number(1, uint64(time.Now().Unix()))
}

func logMessage(text, id, level string) message {
	return message{}.sub(1, message{}.text(1, text).text(2, id).text(3, level).sub(4, now()))
}

func event(kind, status, id string) message {
	return message{}.sub(2, message{}.text(1, kind).sub(2, now()).text(3, id).text(5, "agent").text(6, status))
}

// playAgent opens a session, takes the manifest and accepts it, answers one state request if asked,
// and hangs up.
func playAgent(ctx context.Context, conn *grpc.ClientConn, o *options) error {
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, processMethod)
	if err != nil {
		return err
	}
	first := []message{logMessage("TEE device not found", "", "INFO"), message{}.sub(6, message{})}
	for _, m := range first {
		if err := stream.SendMsg(&frame{m}); err != nil {
			return err
		}
	}
	var manifest []byte
	var sizes []int
	for {
		var m frame
		if err := stream.RecvMsg(&m); err != nil {
			return err
		}
		f, err := parse(m.bytes)
		if err != nil {
			return err
		}
		if f.has(4) {
			q, err := parse(f.bytes[4][0])
			if err != nil {
				return err
			}
			answer := message{}.text(1, q.text(1)).text(2, "ReceivingAlgorithm")
			if err := stream.SendMsg(&frame{message{}.sub(5, answer)}); err != nil {
				return err
			}
			say(object{"asked": "state"})
			return hangUp(stream)
		}
		if !f.has(1) {
			return errors.New("neither a piece of a manifest nor a question")
		}
		piece, err := parse(f.bytes[1][0])
		if err != nil {
			return err
		}
		manifest = append(manifest, piece.text(1)...)
		sizes = append(sizes, len(piece.text(1)))
		if piece.number[3] == 1 {
			break
		}
	}
	f, err := parse(manifest)
	if err != nil {
		return err
	}
	algorithm, err := parse(f.bytes[5][0])
	if err != nil {
		return err
	}
	id := f.text(1)
	answers := []message{
		message{}.sub(3, message{}.text(1, id)),
		event("ReceivingAlgorithm", "InProgress", id),
		logMessage("hello from Go", id, "WARN"),
	}
	for _, m := range answers {
		if err := stream.SendMsg(&frame{m}); err != nil {
			return err
		}
	}
	say(object{
		"id": id, "name": f.text(2), "pieces": sizes, "datasets": len(f.bytes[4]),
		"consumers": len(f.bytes[6]), "algorithm": hex.EncodeToString([]byte(algorithm.text(1))),
	})
	return hangUp(stream)
}

// hangUp half-closes and waits for the server's end, so that everything said has left.
func hangUp(stream grpc.ClientStream) error {
	if err := stream.CloseSend(); err != nil {
		return err
	}
	for {
		var m frame
		if err := stream.RecvMsg(&m); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// keyed reads `digest:keyfile[:name]` into the fields of an Algorithm or Dataset.
func keyed(text string) (message, error) {
	parts := strings.SplitN(text, ":", 3)
	if len(parts) < 2 {
		return nil, errors.New("want digest:keyfile")
	}
	digest, err := hex.DecodeString(parts[0])
	if err != nil {
		return nil, err
	}
	key, err := spki(parts[1])
	if err != nil {
		return nil, err
	}
	m := message{}.bytes(1, digest).bytes(2, key)
	if len(parts) == 3 {
		m = m.text(3, parts[2])
	}
	return m, nil
}

func spki(path string) ([]byte, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("no PEM block in " + path)
	}
	return block.Bytes, nil
}

func (o *options) manifest() (message, error) {
	m := message{}.text(1, o.id).text(2, "from Go").text(3, "a manifest of the Go peer")
	for _, each := range o.datasets {
		d, err := keyed(each)
		if err != nil {
			return nil, err
		}
		m = m.sub(4, d)
	}
	a, err := keyed(o.algoKey)
	if err != nil {
		return nil, err
	}
	m = m.sub(5, a)
	for _, each := range o.publics {
		key, err := spki(each)
		if err != nil {
			return nil, err
		}
		m = m.sub(6, message{}.bytes(1, key))
	}
	return m.sub(7, message{}.text(1, o.port)), nil
}

// session is the newest stream of an agent; words of standard input go there.
type session struct {
	mu     sync.Mutex
	stream grpc.ServerStream
}

func (s *session) send(m message) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stream == nil {
		return errors.New("no agent")
	}
	return s.stream.SendMsg(&frame{m})
}

// serveCvms is the seed's test server and a little more: `manifest`, `state`, `stop` and
// `disconnect` on standard input go to the agent; its end ends the server.
func serveCvms(ctx context.Context, o *options) error {
	manifest, err := o.manifest()
	if err != nil {
		return err
	}
	creds, err := o.serverCredentials()
	if err != nil {
		return err
	}
	var current session
	give := func() error {
		for at := 0; at < len(manifest); at += chunk {
			piece := manifest[at:min(at+chunk, len(manifest))]
			if err := current.send(message{}.sub(1, message{}.bytes(1, piece).text(2, o.id))); err != nil {
				return err
			}
		}
		return current.send(message{}.sub(1, message{}.text(2, o.id).number(3, 1)))
	}
	server := grpc.NewServer(grpc.Creds(creds))
	checks := health.NewServer()
	checks.SetServingStatus("cvms_test_server", grpc_health_v1.HealthCheckResponse_SERVING)
	grpc_health_v1.RegisterHealthServer(server, checks)
	server.RegisterService(&grpc.ServiceDesc{
		ServiceName: "cvms.Service",
		HandlerType: (*any)(nil),
		Streams: []grpc.StreamDesc{{
			StreamName: "Process", ClientStreams: true, ServerStreams: true,
			Handler: func(_ any, stream grpc.ServerStream) error {
				current.mu.Lock()
				current.stream = stream
				current.mu.Unlock()
				p, _ := peer.FromContext(stream.Context())
				say(object{"connected": true, "security": p.AuthInfo != nil})
				if err := give(); err != nil {
					return err
				}
				for {
					var m frame
					if err := stream.RecvMsg(&m); err != nil {
						say(object{"disconnected": err.Error()})
						return nil
					}
					if err := show(m.bytes); err != nil {
						return err
					}
				}
			},
		}},
	}, nil)
	listener, err := net.Listen("tcp", o.addr)
	if err != nil {
		return err
	}
	go func() {
		words := bufio.NewScanner(os.Stdin)
		for words.Scan() {
			var err error
			switch words.Text() {
			case "manifest":
				err = give()
			case "state":
				err = current.send(message{}.sub(4, message{}.text(1, "q")))
			case "stop":
				err = current.send(message{}.sub(3, message{}.text(1, o.id)))
			case "disconnect":
				err = current.send(message{}.sub(5, message{}.text(1, o.id)))
			}
			if err != nil {
				say(object{"error": err.Error()})
			}
		}
		server.Stop()
	}()
	go func() {
		<-ctx.Done()
		server.Stop()
	}()
	say(object{"listening": listener.Addr().String()})
	return server.Serve(listener)
}

// show prints a message of an agent.
func show(bytes []byte) error {
	f, err := parse(bytes)
	if err != nil {
		return err
	}
	names := map[uint64]string{1: "log", 2: "event", 3: "runRes", 4: "stopRes", 5: "stateRes", 6: "report", 7: "azure"}
	for number, name := range names {
		if !f.has(number) {
			continue
		}
		v, err := parse(f.bytes[number][0])
		if err != nil {
			return err
		}
		line := object{"message": name, "1": v.text(1), "2": v.text(2), "3": v.text(3)}
		if name == "event" {
			line = object{"message": name, "event": v.text(1), "status": v.text(6), "originator": v.text(5), "computation": v.text(3)}
		}
		say(line)
	}
	return nil
}
