// Command kubernetes is all of a Kubernetes cluster's programs in one binary, and
// a provisioner of volumes for it.
//
// No package registry serves Kubernetes as programs, but its source is a Go
// module. Building the programs as one shares their common code: it takes a
// third of the time and of the space of building them one by one.
//
// The first argument names the program; the rest are its own arguments.
package main

import (
	"context"
	"fmt"
	"os"
	_ "time/tzdata" // for the timeZone of CronJobs

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register" // the flag --logging-format=json
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	kubectl "k8s.io/kubectl/pkg/cmd"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: kubernetes PROGRAM [ARGUMENTS]")
		os.Exit(64)
	}
	program := os.Args[1]
	// Every program reads os.Args by itself and expects its own name first.
	os.Args = os.Args[1:]

	if program == "etcd" {
		etcdmain.Main(os.Args)
		return
	}
	command := commandOf(program)
	if command == nil {
		fmt.Fprintf(os.Stderr, "kubernetes: there is no program %q in here\n", program)
		os.Exit(64)
	}
	os.Exit(cli.Run(command))
}

func commandOf(program string) *cobra.Command {
	switch program {
	case "kube-apiserver":
		return apiserver.NewAPIServerCommand()
	case "kube-controller-manager":
		return controllermanager.NewControllerManagerCommand()
	case "kube-scheduler":
		return scheduler.NewSchedulerCommand()
	case "kube-proxy":
		return proxy.NewProxyCommand()
	case "kubelet":
		return kubelet.NewKubeletCommand(context.Background())
	case "provisioner":
		return newProvisionerCommand()
	case "kubectl":
		return kubectl.NewDefaultKubectlCommand()
	default:
		return nil
	}
}
