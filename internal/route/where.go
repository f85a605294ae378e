package route

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/overloads"
	"github.com/google/cel-go/common/types"
)

// maxWhere bounds the text of an expression, in bytes.
const maxWhere = 4 << 10

// maxWork bounds what one evaluation does with a message: a step is a value of the payload that is looked at, or 16 bytes of text. It allows
// some passes over the largest payload, and no pass for each of its values. That suffices because loops are not nested and the expression is
// short. CEL's own limit would not do: its tracker takes time that grows with the square of a list's length (7 s for 60,000 items in v0.31).
const (
	maxWork      = 1 << 20
	bytesPerStep = 16
)

// The variables of an expression.
const (
	varTopic       = "topic"
	varLevels      = "levels"
	varSource      = "source"
	varContentType = "content_type"
	varProperties  = "properties"
	varPayload     = "payload"
	varTime        = "time"
	varQoS         = "qos"
)

// whereEnv is what expressions may use: CEL's standard library and the variables.
var whereEnv = sync.OnceValues(func() (*cel.Env, error) {
	return cel.NewEnv(
		cel.Variable(varTopic, cel.StringType),
		cel.Variable(varLevels, cel.ListType(cel.StringType)),
		cel.Variable(varSource, cel.StringType),
		cel.Variable(varContentType, cel.StringType),
		cel.Variable(varProperties, cel.MapType(cel.StringType, cel.StringType)),
		cel.Variable(varPayload, cel.DynType),
		cel.Variable(varTime, cel.TimestampType),
		cel.Variable(varQoS, cel.IntType),
		cel.CrossTypeNumericComparisons(true),
		cel.DefaultUTCTimeZone(true),
		cel.OptionalTypes(), // payload.?t.orValue(0)
	)
})

// compileWhere compiles an expression. Its errors name the place in the text.
func compileWhere(text string) (cel.Program, error) {
	if len(text) > maxWhere {
		return nil, fmt.Errorf("want an expression of at most %d bytes, not %d", maxWhere, len(text))
	}
	env, err := whereEnv()
	if err != nil {
		return nil, err
	}
	checked, issues := env.Compile(text)
	if issues.Err() != nil {
		return nil, whereError(text, issues)
	}
	if t := checked.OutputType(); !t.IsExactType(cel.BoolType) && !t.IsExactType(cel.DynType) {
		return nil, fmt.Errorf("want an expression that is true or false, such as payload.t > 20, not one that is a %s", t)
	}
	if err := bounded(checked); err != nil {
		return nil, err
	}
	return env.Program(checked, cel.EvalOptions(cel.OptOptimize))
}

// whereError is the first of the issues, with the place in the text.
func whereError(text string, issues *cel.Issues) error {
	first := issues.Errors()[0]
	message, _, _ := strings.Cut(first.Message, " (in container")
	message = strings.TrimPrefix(message, "Syntax error: ")
	if line := first.Location.Line(); strings.Contains(text, "\n") {
		return fmt.Errorf("line %d, character %d: %s", line, first.Location.Column()+1, message)
	}
	return fmt.Errorf("character %d: %s", first.Location.Column()+1, message)
}

var (
	errPattern = errors.New("matches: want a pattern in quotes: it must not be made of a message")
	errZone    = errors.New("want a time zone in quotes: it must not be made of a message")
	errNested  = errors.New("want no loop (all, exists, exists_one, filter, map, optMap) inside of another, because a device could make it run long")
)

// bounded returns an error if a message could make the expression expensive: by a regular expression, the file of a time zone, or by loops in
// loops.
func bounded(checked *cel.Ast) error {
	root := ast.NavigateAST(checked.NativeRep())
	for _, e := range ast.MatchDescendants(root, ast.KindMatcher(ast.CallKind)) {
		args := e.AsCall().Args()
		if len(args) == 0 || args[len(args)-1].Kind() == ast.LiteralKind {
			continue
		}
		switch e.AsCall().FunctionName() {
		case overloads.Matches:
			return errPattern
		case overloads.TimeGetFullYear, overloads.TimeGetMonth, overloads.TimeGetDayOfYear, overloads.TimeGetDayOfMonth, overloads.TimeGetDate,
			overloads.TimeGetDayOfWeek, overloads.TimeGetHours, overloads.TimeGetMinutes, overloads.TimeGetSeconds, overloads.TimeGetMilliseconds:
			return errZone
		}
	}
	for _, e := range ast.MatchDescendants(root, ast.KindMatcher(ast.ComprehensionKind)) {
		below := e
		for above, ok := e.Parent(); ok; above, ok = above.Parent() {
			if above.Kind() == ast.ComprehensionKind && above.AsComprehension().IterRange().ID() != below.ID() {
				return errNested
			}
			below = above
		}
	}
	return nil
}

var errNotBool = errors.New("where: want true or false")

// holds evaluates an expression for the message of v.
func holds(where cel.Program, v *View) (bool, error) {
	v.work = 0
	result, _, err := where.Eval((*variables)(v))
	switch {
	case v.treeErr != nil && err != nil:
		return false, v.treeErr
	case v.work > maxWork:
		return false, fmt.Errorf("where: %w", errWork)
	case err != nil:
		return false, fmt.Errorf("where: %w", whereReason(err))
	}
	b, ok := result.(types.Bool)
	if !ok {
		return false, fmt.Errorf("%w, not %s", errNotBool, result.Type().TypeName())
	}
	return bool(b), nil
}

// whereReason is the reason why an evaluation failed, without what a message could make arbitrarily long.
func whereReason(err error) error {
	const most = 200
	if text := err.Error(); len(text) > most {
		return errors.New(strings.ToValidUTF8(text[:most], "") + "...")
	}
	return err
}

var errWork = errors.New("this message needs too much work")

// variables is a View as what an expression sees of it. Nothing is made that the expression does not use.
type variables View

// Parent implements cel.Activation.
func (*variables) Parent() cel.Activation { return nil }

// ResolveName implements cel.Activation.
func (vars *variables) ResolveName(name string) (any, bool) {
	v := (*View)(vars)
	m := v.message
	switch name {
	case varTopic:
		return v.celText(m.Topic), true
	case varLevels:
		return v.celLevels(), true
	case varSource:
		return v.celText(m.Source), true
	case varContentType:
		return v.celText(m.ContentType), true
	case varProperties:
		return v.celProperties(), true
	case varPayload:
		t, err := v.Tree()
		if err != nil {
			return types.WrapErr(err).(*types.Err), true
		}
		return v.celValue(t.Root()), true
	case varTime:
		return types.Timestamp{Time: v.Time.In(time.UTC)}, true
	case varQoS:
		return types.Int(m.QoS), true
	}
	return nil, false
}
