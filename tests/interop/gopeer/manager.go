// What the CLI asks a manager for.
package main

import (
	"context"

	"google.golang.org/grpc"
)

func unary(ctx context.Context, conn *grpc.ClientConn, method string, request message) (fields, error) {
	var answer frame
	if err := conn.Invoke(ctx, "/manager.ManagerService/"+method, &frame{request}, &answer); err != nil {
		return fields{}, err
	}
	return parse(answer.bytes)
}

func createVM(ctx context.Context, conn *grpc.ClientConn, o *options) error {
	f, err := unary(ctx, conn, "CreateVm", message{}.text(1, "debug").text(5, o.url).text(7, o.ttl))
	if err != nil {
		return err
	}
	say(object{"port": f.text(1), "id": f.text(2)})
	return nil
}

func removeVM(ctx context.Context, conn *grpc.ClientConn, o *options) error {
	if _, err := unary(ctx, conn, "RemoveVm", message{}.text(1, o.id)); err != nil {
		return err
	}
	say(object{"ok": true})
	return nil
}

func info(ctx context.Context, conn *grpc.ClientConn, o *options) error {
	f, err := unary(ctx, conn, "CVMInfo", message{}.text(1, o.id))
	if err != nil {
		return err
	}
	say(object{"id": f.text(1), "ovmf": f.text(2), "cpus": f.number[3], "cpu": f.text(4), "eos": f.text(6)})
	return nil
}

func policy(ctx context.Context, conn *grpc.ClientConn, o *options) error {
	f, err := unary(ctx, conn, "AttestationPolicy", message{}.text(1, o.id))
	if err != nil {
		return err
	}
	say(object{"id": f.text(2), "info": len(f.text(1))})
	return nil
}
