{{/*
What the operator may do in a namespace that it watches. Secrets can be read by name only: there is no list and no
watch, so it sees those whose names a Registry gives.
*/}}
{{- define "lagan.namespaceRules" -}}
- apiGroups: [lagan.dev]
  resources: [registries, retentionpolicies]
  verbs: [get, list, watch]
- apiGroups: [lagan.dev]
  resources: [registries/status, retentionpolicies/status]
  verbs: [patch]
- apiGroups: [""]
  resources: [services, persistentvolumeclaims]
  verbs: [get, list, watch, create, patch]
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, patch]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, create, patch]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{ include "lagan.inUseRules" . }}
{{- end -}}

{{/*
What runs, so that it is not deleted. Listed, before each application of a plan.
*/}}
{{- define "lagan.inUseRules" -}}
- apiGroups: [""]
  resources: [pods, podtemplates, replicationcontrollers]
  verbs: [list]
- apiGroups: [apps]
  resources: [deployments, replicasets, statefulsets, daemonsets, controllerrevisions]
  verbs: [list]
- apiGroups: [batch]
  resources: [jobs, cronjobs]
  verbs: [list]
{{- with .Values.rbac.inUseRules }}
{{ toYaml . }}
{{- end }}
{{- end -}}
