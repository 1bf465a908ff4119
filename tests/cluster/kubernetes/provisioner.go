package main

import (
	"context"
	"errors"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
)

// provisionerName is what the storage class `standard` names.
const provisionerName = "lagan.test/local"

// claimProvisioner is the annotation by which Kubernetes' volume controller asks
// an external provisioner for a volume.
const claimProvisioner = "volume.kubernetes.io/storage-provisioner"

// volumeProvisioner marks a volume as ours to delete.
const volumeProvisioner = "pv.kubernetes.io/provisioned-by"

// resync is how often everything is looked at again, so that what failed once
// (the API server was away) is tried again.
const resync = 2 * time.Second

// provisioner makes a volume for each claim of the class `standard`, as a cloud's
// would: a folder on the node, as a `local` volume, because those honour fsGroup.
// It removes volume and folder when a claim that is gone leaves them released.
type provisioner struct {
	client kubernetes.Interface
	folder string
	node   string
}

func newProvisionerCommand() *cobra.Command {
	var kubeconfig string
	p := provisioner{}
	command := &cobra.Command{
		Use:  "provisioner",
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
			if err != nil {
				return err
			}
			p.client, err = kubernetes.NewForConfig(config)
			if err != nil {
				return err
			}
			return p.run()
		},
	}
	command.Flags().StringVar(&kubeconfig, "kubeconfig", "", "how to reach the API server")
	command.Flags().StringVar(&p.folder, "folder", "", "where the volumes' folders are made")
	command.Flags().StringVar(&p.node, "node", "", "the node that has the folder")
	return command
}

func (p *provisioner) run() error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	factory := informers.NewSharedInformerFactory(p.client, resync)
	_, claimsError := factory.Core().V1().PersistentVolumeClaims().Informer().AddEventHandler(onEach(func(object any) {
		if claim, ok := object.(*core.PersistentVolumeClaim); ok {
			p.provision(ctx, claim)
		}
	}))
	_, volumesError := factory.Core().V1().PersistentVolumes().Informer().AddEventHandler(onEach(func(object any) {
		if volume, ok := object.(*core.PersistentVolume); ok {
			p.reclaim(ctx, volume)
		}
	}))
	if err := errors.Join(claimsError, volumesError); err != nil {
		return err
	}
	factory.Start(ctx.Done())
	<-ctx.Done()
	return nil
}

func onEach(handle func(object any)) cache.ResourceEventHandler {
	return cache.ResourceEventHandlerFuncs{
		AddFunc:    handle,
		UpdateFunc: func(_, object any) { handle(object) },
	}
}

func (p *provisioner) provision(ctx context.Context, claim *core.PersistentVolumeClaim) {
	if claim.Status.Phase != core.ClaimPending || claim.Annotations[claimProvisioner] != provisionerName {
		return
	}
	// The claim's UID in the name makes a second attempt find the first one.
	name := "pvc-" + string(claim.UID)
	path := filepath.Join(p.folder, name)
	if err := os.MkdirAll(path, 0o755); err != nil {
		log.Printf("could not make a folder: %v", err)
		return
	}
	volume := p.volume(name, path, claim)
	_, err := p.client.CoreV1().PersistentVolumes().Create(ctx, volume, meta.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		log.Printf("could not create volume %s: %v", name, err)
	}
}

func (p *provisioner) volume(name, path string, claim *core.PersistentVolumeClaim) *core.PersistentVolume {
	mode := core.PersistentVolumeFilesystem
	return &core.PersistentVolume{
		ObjectMeta: meta.ObjectMeta{
			Name:        name,
			Annotations: map[string]string{volumeProvisioner: provisionerName},
		},
		Spec: core.PersistentVolumeSpec{
			Capacity:                      core.ResourceList{core.ResourceStorage: claim.Spec.Resources.Requests[core.ResourceStorage]},
			AccessModes:                   claim.Spec.AccessModes,
			PersistentVolumeReclaimPolicy: core.PersistentVolumeReclaimDelete,
			StorageClassName:              *claim.Spec.StorageClassName,
			VolumeMode:                    &mode,
			ClaimRef: &core.ObjectReference{
				APIVersion: "v1",
				Kind:       "PersistentVolumeClaim",
				Namespace:  claim.Namespace,
				Name:       claim.Name,
				UID:        claim.UID,
			},
			PersistentVolumeSource: core.PersistentVolumeSource{Local: &core.LocalVolumeSource{Path: path}},
			NodeAffinity: &core.VolumeNodeAffinity{Required: &core.NodeSelector{
				NodeSelectorTerms: []core.NodeSelectorTerm{{
					MatchExpressions: []core.NodeSelectorRequirement{{
						Key:      core.LabelHostname,
						Operator: core.NodeSelectorOpIn,
						Values:   []string{p.node},
					}},
				}},
			}},
		},
	}
}

func (p *provisioner) reclaim(ctx context.Context, volume *core.PersistentVolume) {
	if volume.Annotations[volumeProvisioner] != provisionerName ||
		volume.Status.Phase != core.VolumeReleased ||
		volume.Spec.PersistentVolumeReclaimPolicy != core.PersistentVolumeReclaimDelete {
		return
	}
	if err := os.RemoveAll(filepath.Join(p.folder, volume.Name)); err != nil {
		log.Printf("could not remove the folder of volume %s: %v", volume.Name, err)
		return
	}
	err := p.client.CoreV1().PersistentVolumes().Delete(ctx, volume.Name, meta.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		log.Printf("could not delete volume %s: %v", volume.Name, err)
	}
}
