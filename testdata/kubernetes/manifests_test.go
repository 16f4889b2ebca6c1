// Package kubernetes checks the manifests in packaging/kubernetes against the types of
// Kubernetes' API. It is a module of its own: wstun doesn't depend on them.
package kubernetes

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/json"
	sigsyaml "sigs.k8s.io/yaml"
)

// TestManifests decodes each document without unknown, duplicate or mistyped fields.
func TestManifests(t *testing.T) {
	kinds := map[string]func() any{
		"apps/v1 Deployment":                 func() any { return new(appsv1.Deployment) },
		"apps/v1 StatefulSet":                func() any { return new(appsv1.StatefulSet) },
		"networking.k8s.io/v1 NetworkPolicy": func() any { return new(networkingv1.NetworkPolicy) },
		"policy/v1 PodDisruptionBudget":      func() any { return new(policyv1.PodDisruptionBudget) },
		"v1 Service":                         func() any { return new(corev1.Service) },
	}
	const dir = "../../packaging/kubernetes/"
	paths, _ := filepath.Glob(dir + "*.yaml")
	fleet, _ := filepath.Glob(dir + "fleet/[hnr]*.yaml") // neither the policy nor the kustomization
	documents := 0
	for _, path := range append(paths, fleet...) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for reader := yaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(text))); ; documents++ {
			document, err := reader.Read()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", path, err)
			}
			var kind struct{ APIVersion, Kind string }
			if err := sigsyaml.Unmarshal(document, &kind); err != nil {
				t.Fatalf("%s: %v", path, err)
			}
			object := kinds[kind.APIVersion+" "+kind.Kind]
			if object == nil {
				t.Errorf("%s: no type for %+v", path, kind)
				continue
			}
			if document, err = sigsyaml.YAMLToJSONStrict(document); err != nil {
				t.Fatalf("%s: %v", path, err)
			}
			if mistakes, err := json.UnmarshalStrict(document, object()); err != nil || mistakes != nil {
				t.Errorf("%s: %s: %v, %v", path, kind.Kind, err, mistakes)
			}
		}
	}
	if documents != 16 {
		t.Errorf("%d documents, want 16", documents)
	}
}
