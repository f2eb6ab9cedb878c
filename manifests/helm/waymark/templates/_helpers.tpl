{{- define "waymark.image" -}}
image: {{ printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{- end -}}

{{- define "waymark.pullSecrets" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
{{ toYaml . }}
{{- end -}}
{{- end -}}

{{/* The directory that only root may enter. */}}
{{- define "waymark.private" -}}
- name: private
  {{- include "waymark.image" . | nindent 2 }}
  command: [chmod, "0700", /run/waymark]
  securityContext:
    allowPrivilegeEscalation: false
    readOnlyRootFilesystem: true
    capabilities: {drop: [ALL]}
  resources:
    requests: {cpu: 10m, memory: 16Mi}
    limits: {memory: 64Mi}
  volumeMounts:
  - {name: run, mountPath: /run/waymark}
{{- end -}}

{{- define "waymark.host" -}}
{{ if .Values.metrics.expose }}[$(HOST_IP)]{{ else }}127.0.0.1{{ end }}
{{- end -}}

{{- define "waymark.hostIP" -}}
{{- if .Values.metrics.expose }}
- name: HOST_IP
  valueFrom: {fieldRef: {fieldPath: status.hostIP}}
{{- end -}}
{{- end -}}

{{- define "waymark.probeHost" -}}
{{ if not .Values.metrics.expose }}host: 127.0.0.1, {{ end }}
{{- end -}}
