package api

import (
	"context"
	"errors"
	"fmt"

	"connectrpc.com/connect"

	"github.com/longline/longline/internal/auth"
	"github.com/longline/longline/internal/command"
	"github.com/longline/longline/internal/devices"
	"github.com/longline/longline/internal/message"
	"github.com/longline/longline/internal/router"
	"github.com/longline/longline/internal/service"
	"github.com/longline/longline/internal/store"
	"github.com/longline/longline/internal/stream"
	"github.com/longline/longline/internal/topic"
)

// codes are the codes of the errors of the layers below. Any other error is internal.
var codes = []struct {
	err  error
	code connect.Code
}{
	{devices.ErrUnknown, connect.CodeNotFound},
	{devices.ErrOffline, connect.CodeUnavailable}, // nothing was sent: the caller may try again
	{devices.ErrLost, connect.CodeAborted},        // the device may have executed it
	{devices.ErrNoAnswer, connect.CodeDeadlineExceeded},
	{devices.ErrTooManyCalls, connect.CodeResourceExhausted},
	{devices.ErrNotCallable, connect.CodeUnimplemented},
	{message.ErrNoIDs, connect.CodeUnavailable},
	{command.ErrUnknown, connect.CodeNotFound},
	{command.ErrKeyUsed, connect.CodeAlreadyExists},
	{command.ErrDeviceFull, connect.CodeResourceExhausted},
	{command.ErrFull, connect.CodeResourceExhausted},
	{command.ErrBusy, connect.CodeResourceExhausted},
	{command.ErrMoved, connect.CodeAborted},
	{command.ErrStore, connect.CodeUnavailable},
	{router.ErrQuota, connect.CodeResourceExhausted},
	{router.ErrStore, connect.CodeUnavailable},
	{router.ErrTooLate, connect.CodeResourceExhausted},
	{store.ErrFull, connect.CodeResourceExhausted},
	{store.ErrTooLarge, connect.CodeResourceExhausted},
	{stream.ErrClosed, connect.CodeUnavailable},
	{stream.ErrTakenOver, connect.CodeAborted},
	{stream.ErrDeleted, connect.CodeNotFound},
	{stream.ErrConsumer, connect.CodeNotFound},
	{stream.ErrName, connect.CodeInvalidArgument},
	{stream.ErrPlace, connect.CodeInvalidArgument},
	{stream.ErrTooMany, connect.CodeResourceExhausted},
	{service.ErrBackends, connect.CodeResourceExhausted},
	{service.ErrServedClosed, connect.CodeUnavailable},
	{auth.ErrNothingShown, connect.CodeFailedPrecondition},
	{auth.ErrRevocationsFull, connect.CodeResourceExhausted},
	{context.DeadlineExceeded, connect.CodeDeadlineExceeded},
	{context.Canceled, connect.CodeCanceled},
}

// coded gives an error of the layers below its code.
func coded(err error) error {
	var has *connect.Error
	if err == nil || errors.As(err, &has) {
		return err
	}
	for _, c := range codes {
		if errors.Is(err, c.err) {
			return connect.NewError(c.code, err)
		}
	}
	return connect.NewError(connect.CodeInternal, err)
}

// label returns the code of err as metrics name it.
func label(err error) string {
	if err == nil {
		return "ok"
	}
	return connect.CodeOf(err).String()
}

// exhausted refuses a request that exceeds a limit of the node.
func exhausted(format string, args ...any) error {
	return connect.NewError(connect.CodeResourceExhausted, fmt.Errorf(format, args...))
}

// invalid refuses a request, naming the field and the rule that it breaks.
func invalid(field, format string, args ...any) error {
	return connect.NewError(connect.CodeInvalidArgument, errors.New(field+" "+fmt.Sprintf(format, args...)))
}

// misnamed refuses a topic, filter or device id that package topic refuses.
func misnamed(field string, err error) error {
	var wrong *topic.Error
	if !errors.As(err, &wrong) {
		return err
	}
	named := *wrong
	named.What = field
	return connect.NewError(connect.CodeInvalidArgument, &named)
}
