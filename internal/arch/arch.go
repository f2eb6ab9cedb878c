// Package arch holds those rules of the design that a program can check: who may import what, who may end the process, what
// a package may not be called, and that everything exported says what it is.
package arch

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

const module = "github.com/waymark-bgp/waymark"

// pure packages decide. They import the standard library only, without what has effects.
var (
	pure    = []string{"bfd", "bgp", "bgp/neighbor", "ipam", "nat", "nat/audit", "registry", "route", "route/export", "route/probe"}
	effects = []string{"log", "net", "os", "os/exec", "syscall", "unsafe"}
)

// kubernetes are the packages that talk to an API server.
var kubernetes = []string{"agent/kube", "controller", "cmd", "internal/apiserver", "internal/nettest", "hack"}

// only says who may import a module, besides its own subpackages: the directories and what is below them.
var only = map[string][]string{
	"github.com/osrg/gobgp":           {"bgp/gobgp", "hack", "internal/nettest"},
	"github.com/vishvananda/netlink":  {"route/kernel", "route/tunnel", "nat/conntrack", "nat/audit/host", "route/probe/host"},
	"sigs.k8s.io/knftables":           {"nat/nftables"},
	"github.com/coreos/go-iptables":   {"nat/iptables"},
	"k8s.io/client-go":                kubernetes,
	"sigs.k8s.io/controller-runtime":  kubernetes,
	module + "/internal/nettest":      {"hack", "internal/egresslab", "internal/nattest", "internal/zookeepertest"},
	module + "/internal/controlplane": {"hack", "internal/nettest"},
}

// enders may end the process; everybody else returns an error.
var enders = []string{"cmd", "hack", "internal/nettest"}

// nameless packages say nothing of their job.
var nameless = []string{"common", "helpers", "types", "util", "utils"}

// Check reads every Go file of a module, whose root is the root of the file system, and returns what breaks the rules, as
// "file:line: rule" in the order of the files. Tests are free to import and to end; testdata and nested modules are not read.
func Check(root fs.FS) ([]string, error) {
	c := checker{files: token.NewFileSet(), documented: map[string]bool{}}
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			return c.enter(root, name)
		}
		if path.Ext(name) != ".go" || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		text, err := fs.ReadFile(root, name)
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(c.files, name, text, parser.ParseComments)
		if err != nil {
			return err
		}
		c.file(path.Dir(name), file)
		return nil
	})
	for _, dir := range c.packages {
		if !c.documented[dir] {
			c.breaches = append(c.breaches, dir+": the package has no doc comment")
		}
	}
	return c.breaches, err
}

type checker struct {
	files      *token.FileSet
	breaches   []string
	packages   []string        // directories with Go files
	documented map[string]bool // those with a package comment
}

// enter says whether a directory is part of the module.
func (c *checker) enter(root fs.FS, dir string) error {
	if dir == "." {
		return nil
	}
	_, err := fs.Stat(root, path.Join(dir, "go.mod"))
	if base := path.Base(dir); err == nil || base == "testdata" || strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_") {
		return fs.SkipDir
	}
	return nil
}

func (c *checker) breach(at token.Pos, format string, args ...any) {
	p := c.files.Position(at)
	c.breaches = append(c.breaches, fmt.Sprintf("%s:%d: %s", p.Filename, p.Line, fmt.Sprintf(format, args...)))
}

func (c *checker) file(dir string, file *ast.File) {
	if !slices.Contains(c.packages, dir) {
		c.packages = append(c.packages, dir)
		if slices.Contains(nameless, file.Name.Name) || slices.Contains(nameless, path.Base(dir)) {
			c.breach(file.Name.Pos(), "package %s: the name says nothing of its job", file.Name.Name)
		}
	}
	c.documented[dir] = c.documented[dir] || file.Doc.Text() != ""
	for _, spec := range file.Imports {
		imported, _ := strconv.Unquote(spec.Path.Value) // the parser has checked it
		c.imported(dir, imported, spec.Pos())
	}
	if !below(dir, enders) {
		c.ends(file)
	}
	if file.Name.Name != "main" {
		c.exported(file)
	}
}

func below(dir string, parents []string) bool {
	return slices.ContainsFunc(parents, func(p string) bool { return dir == p || strings.HasPrefix(dir, p+"/") })
}

func (c *checker) imported(dir, imported string, at token.Pos) {
	if first, _, _ := strings.Cut(imported, "/"); slices.Contains(pure, dir) && (strings.Contains(first, ".") || slices.Contains(effects, imported)) {
		c.breach(at, "%s is pure and may not import %s", dir, imported)
	}
	for restricted, allowed := range only {
		if below(imported, []string{restricted}) && !below(dir, allowed) && !below(module+"/"+dir, []string{restricted}) {
			c.breach(at, "%s may not import %s, only %s may", dir, imported, strings.Join(allowed, ", "))
		}
	}
}

// ends finds calls that end the process.
func (c *checker) ends(file *ast.File) {
	ast.Inspect(file, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok {
			name := s.Sel.Name
			if x, ok := s.X.(*ast.Ident); ok && (x.Name == "os" && name == "Exit" || x.Name == "log" && strings.HasPrefix(name, "Fatal")) {
				c.breach(s.Pos(), "%s.%s: only a command ends the process; return an error", x.Name, name)
			}
		}
		return true
	})
}

// exported finds what is exported and says nothing of itself. A comment on a group, or behind a value, will do.
func (c *checker) exported(file *ast.File) {
	undocumented := func(name *ast.Ident, docs ...*ast.CommentGroup) {
		if name.IsExported() && !slices.ContainsFunc(docs, func(d *ast.CommentGroup) bool { return d.Text() != "" }) {
			c.breach(name.Pos(), "%s has no doc comment", name.Name)
		}
	}
	for _, decl := range file.Decls {
		switch d := decl.(type) {
		case *ast.FuncDecl:
			// String and Error are what fmt and errors say they are.
			if d.Recv == nil || exportedReceiver(d) && d.Name.Name != "String" && d.Name.Name != "Error" {
				undocumented(d.Name, d.Doc)
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				switch s := spec.(type) {
				case *ast.TypeSpec:
					undocumented(s.Name, d.Doc, s.Doc, s.Comment)
				case *ast.ValueSpec:
					for _, name := range s.Names {
						undocumented(name, d.Doc, s.Doc, s.Comment)
					}
				}
			}
		}
	}
}

func exportedReceiver(d *ast.FuncDecl) bool {
	for t := d.Recv.List[0].Type; ; {
		switch e := t.(type) {
		case *ast.StarExpr:
			t = e.X
		case *ast.IndexExpr:
			t = e.X
		case *ast.IndexListExpr:
			t = e.X
		case *ast.Ident:
			return e.IsExported()
		default:
			return false
		}
	}
}
