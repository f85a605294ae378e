package archtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"
)

// neverBlock are the packages whose code runs on loops and under locks.
var neverBlock = []string{"internal/store", "internal/router", "internal/command", "internal/session"}

// blockers are the functions of neverBlock that wait for others. None is called on a loop or with a lock held.
var blockers = map[string]string{
	"internal/store Memory.Close":        "the end of a store",
	"internal/router Inbox.Take":         "a backend's stream waits for messages",
	"internal/command Manager.Create":    "a backend waits for the store",
	"internal/command Manager.Cancel":    "a backend waits for the store",
	"internal/command wait":              "a part of these",
	"internal/command Manager.Wait":      "a backend waits for changes",
	"internal/session Manager.Close":     "the end of a node",
	"internal/session Manager.Call":      "a backend waits for a device's answer",
	"internal/session Manager.Broadcast": "a backend waits for receivers",
	"internal/session backlog.wait":      "a part of Manager.Close",
	"internal/session waitingWills.stop": "a part of Manager.Close",
}

// openers are the files that may name what may block in a store.
var openers = map[string]string{
	"internal/session/open.go": "opens queues on workers, and reads records at start",
	"cmd/longline/node.go":     "makes the store and closes it",
}

// TestNothingBlocksUnderLocks finds code outside of blockers that waits for a channel, a timer or a group.
func TestNothingBlocksUnderLocks(t *testing.T) {
	found := make(map[string]bool)
	for _, dir := range neverBlock {
		for _, f := range parse(t, dir) {
			for _, d := range f.Decls {
				fn, ok := d.(*ast.FuncDecl)
				if !ok || !blocks(fn) {
					continue
				}
				name := dir + " " + funcName(fn)
				found[name] = true
				switch {
				case blockers[name] == "":
					t.Errorf("%s waits for something: it is called on loops and under locks", name)
				case calls(fn, "Lock"):
					t.Errorf("%s waits for something and takes a lock", name)
				}
			}
		}
	}
	for name := range blockers {
		if !found[name] {
			t.Errorf("%s waits for nothing any more: take it from the list", name)
		}
	}
}

// TestOnlyOpenersNameOpener checks that a session or a router uses only a store's interface that does not block.
func TestOnlyOpenersNameOpener(t *testing.T) {
	for _, p := range list(t) {
		if p.ImportPath == "internal/store" || strings.HasPrefix(p.ImportPath, "internal/store/") || floors[p.ImportPath] == 0 {
			continue
		}
		for path, f := range parse(t, p.ImportPath) {
			ast.Inspect(f, func(n ast.Node) bool {
				s, ok := n.(*ast.SelectorExpr)
				if !ok {
					return true
				}
				if x, ok := s.X.(*ast.Ident); ok && x.Name == "store" && (s.Sel.Name == "Opener" || s.Sel.Name == "Memory") && openers[path] == "" {
					t.Errorf("%s names store.%s, which may block", path, s.Sel.Name)
				}
				return true
			})
		}
	}
}

// parse returns the files of a package, without its tests, by their paths.
func parse(t *testing.T, dir string) map[string]*ast.File {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join("../..", dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	files := make(map[string]*ast.File)
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		files[dir+"/"+filepath.Base(path)] = f
	}
	return files
}

// funcName returns Type.Method, or the name of a function.
func funcName(fn *ast.FuncDecl) string {
	if fn.Recv == nil {
		return fn.Name.Name
	}
	typ := fn.Recv.List[0].Type
	for {
		switch x := typ.(type) {
		case *ast.StarExpr:
			typ = x.X
		case *ast.IndexExpr:
			typ = x.X
		case *ast.Ident:
			return x.Name + "." + fn.Name.Name
		default:
			return fn.Name.Name
		}
	}
}

// blocks reports whether a function waits. A select with a default does not; the function of a go statement does not count.
func blocks(fn *ast.FuncDecl) (found bool) {
	if fn.Body == nil {
		return false
	}
	var look func(ast.Node) bool
	look = func(n ast.Node) bool {
		switch x := n.(type) {
		case *ast.GoStmt:
			return false
		case *ast.SelectStmt:
			if !hasDefault(x) {
				found = true
			}
			for _, c := range x.Body.List {
				for _, s := range c.(*ast.CommClause).Body {
					ast.Inspect(s, look)
				}
			}
			return false
		case *ast.SendStmt:
			found = true
		case *ast.UnaryExpr:
			found = found || x.Op == token.ARROW
		case *ast.CallExpr:
			found = found || waits(x)
		}
		return true
	}
	ast.Inspect(fn.Body, look)
	return found
}

func hasDefault(s *ast.SelectStmt) bool {
	for _, c := range s.Body.List {
		if c.(*ast.CommClause).Comm == nil {
			return true
		}
	}
	return false
}

// waits reports whether a call is of Sleep, or of a method Wait without arguments.
func waits(call *ast.CallExpr) bool {
	s, ok := call.Fun.(*ast.SelectorExpr)
	return ok && (s.Sel.Name == "Sleep" || s.Sel.Name == "Wait" && len(call.Args) == 0)
}

// calls reports whether a function calls a method of that name.
func calls(fn *ast.FuncDecl, method string) (found bool) {
	ast.Inspect(fn.Body, func(n ast.Node) bool {
		if c, ok := n.(*ast.CallExpr); ok {
			if s, ok := c.Fun.(*ast.SelectorExpr); ok && s.Sel.Name == method {
				found = true
			}
		}
		return true
	})
	return found
}

// TestBlocks checks that blocks finds what waits.
func TestBlocks(t *testing.T) {
	for body, want := range map[string]bool{
		"c <- 1": true, "<-c": true, "x := <-c; _ = x": true, "select { case <-c: }": true, "g.Wait()": true, "time.Sleep(1)": true,
		"f(func() { <-c })": true, "select { case <-c: <-d; default: }": true,
		"select { case c <- 1: default: }": false, "go func() { <-c }()": false, "w.Wait(m)": false, "f()": false,
	} {
		f, err := parser.ParseFile(token.NewFileSet(), "x.go", "package x\nfunc (s *S[T]) f() { "+body+" }", 0)
		if err != nil {
			t.Fatal(err)
		}
		fn := f.Decls[0].(*ast.FuncDecl)
		if got := blocks(fn); got != want || funcName(fn) != "S.f" {
			t.Errorf("%s: %t, want %t, of %s", body, got, want, funcName(fn))
		}
	}
}
