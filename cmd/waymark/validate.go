package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/waymark-bgp/waymark/agent"
	"github.com/waymark-bgp/waymark/agent/file"
)

func validateCommand() *cobra.Command {
	var paths []string
	cmd := &cobra.Command{
		Use:   "validate -f FILE|DIRECTORY...",
		Short: "Check manifests without a cluster: each by itself, and all beside each other",
		Long: `Check manifests without a cluster: fields, values, and all objects beside each other, with the code that agent and
controller use. The more is in the files, the more is checked: with Nodes PodCIDRs too, with Secrets the peers' keys.
Of directories the manifests are read, not those below. Objects of other programs are ignored, and counted.

Exit status: 0 all is good, 1 files cannot be read, 2 something is wrong with what they say.`,
		Example: `  waymark validate -f /etc/waymark
  kubectl get waymark,nodes -o yaml | waymark validate -f -`,
		RunE: func(cmd *cobra.Command, args []string) error {
			manifests, err := readManifests(cmd.InOrStdin(), append(paths, args...))
			if err != nil {
				return err
			}
			findings, objects, ignored := validate(manifests)
			for _, p := range findings {
				fmt.Fprintln(cmd.OutOrStdout(), p)
			}
			others := ""
			if ignored > 0 {
				others = fmt.Sprintf("; ignored, because they are not read by Waymark: %d", ignored)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "good objects: %d, findings: %d%s\n", objects, len(findings), others)
			if len(findings) > 0 {
				return errFound
			}
			return nil
		},
	}
	fileFlag(cmd, &paths)
	return cmd
}

func fileFlag(cmd *cobra.Command, paths *[]string) {
	cmd.Flags().StringArrayVarP(paths, "filename", "f", nil, "`file` or directory of manifests, or - for standard input; may be repeated")
}

// readManifests reads files, the manifests in directories but not below them, and with "-" standard input.
func readManifests(stdin io.Reader, paths []string) (map[string][]byte, error) {
	if len(paths) == 0 {
		return nil, fmt.Errorf("-f is missing: name files or directories, or - for standard input")
	}
	manifests := map[string][]byte{}
	for _, path := range paths {
		if path == "-" {
			text, err := file.Slim(stdin)
			if err != nil {
				return nil, fmt.Errorf("standard input: %w", err)
			}
			manifests["stdin"] = text
			continue
		}
		files, err := manifestsOf(path)
		if err != nil {
			return nil, err
		}
		for _, name := range files {
			if manifests[name], err = readManifest(name); err != nil {
				return nil, err
			}
		}
	}
	return manifests, nil
}

func readManifest(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return file.Slim(f)
}

func manifestsOf(path string) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil || !info.IsDir() {
		return []string{path}, err
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, err
	}
	var files []string
	for _, e := range entries {
		extension := filepath.Ext(e.Name())
		if !e.IsDir() && !strings.HasPrefix(e.Name(), ".") && slices.Contains([]string{".yaml", ".yml", ".json"}, extension) {
			files = append(files, filepath.Join(path, e.Name()))
		}
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("%s has no *.yaml, *.yml or *.json", path)
	}
	return files, nil
}

// validate says what is wrong with manifests, how many objects in them are good by themselves, and how many are of others.
func validate(manifests map[string][]byte) (findings []agent.Problem, objects, ignored int) {
	snapshot, where := file.Read(manifests)
	for _, p := range snapshot.Problems {
		if p.Reason == file.Ignored {
			ignored++
		} else {
			findings = append(findings, p)
		}
	}
	for _, p := range agent.Check(snapshot) {
		p.Where = where[p.Object]
		findings = append(findings, p)
	}
	return findings, len(where), ignored
}
