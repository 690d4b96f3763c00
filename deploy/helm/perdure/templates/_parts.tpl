{{- define "perdure.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 50 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "perdure.secretName" -}}
{{ .Values.secret.existing | default (include "perdure.name" .) }}
{{- end }}

{{/* Labels that never change: selectors use them. Called with (list $ "api"). */}}
{{- define "perdure.selector" -}}
app.kubernetes.io/name: {{ (index . 0).Chart.Name }}
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{- define "perdure.labels" -}}
{{ include "perdure.selector" . }}
app.kubernetes.io/version: {{ (index . 0).Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ (index . 0).Release.Service }}
helm.sh/chart: {{ (index . 0).Chart.Name }}-{{ (index . 0).Chart.Version }}
{{- end }}

{{- define "perdure.podPlace" -}}
securityContext:
  runAsNonRoot: true
  runAsUser: 1000
  runAsGroup: 1000
  fsGroup: 1000
  seccompProfile: { type: RuntimeDefault }
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity: {{ toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "perdure.podSettings" -}}
{{ include "perdure.podPlace" . }}
volumes:
  - name: tmp
    emptyDir: {}
  - name: data
  {{- if .Values.data.existingClaim }}
    persistentVolumeClaim: { claimName: {{ .Values.data.existingClaim | quote }} }
  {{- else }}
    emptyDir: {}
  {{- end }}
{{- with .Values.temporal.tls.secret }}
  - name: temporal-tls
    secret: { secretName: {{ . | quote }} }
{{- end }}
{{- if .Values.models }}
  - name: models
    configMap: { name: {{ include "perdure.name" . }}-models }
{{- end }}
{{- end }}

{{/* Ends the list of volumes of Pods that keep files, which workers must not see. */}}
{{- define "perdure.uploadsVolume" -}}
- name: uploads
  {{- if .Values.uploads.existingClaim }}
  persistentVolumeClaim: { claimName: {{ .Values.uploads.existingClaim | quote }} }
  {{- else if and .Values.data.existingClaim (not .Values.settings.UPLOAD_S3_BUCKET) }}
  {{- fail "uploads.existingClaim: uploaded files need a claim of their own, which workers do not mount (or set settings.UPLOAD_S3_BUCKET)" }}
  {{- else }}
  emptyDir: {}
  {{- end }}
{{- end }}

{{- define "perdure.uploadsMount" -}}
- { name: uploads, mountPath: /data/files }
{{- end }}

{{- define "perdure.image" -}}
image: "{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}"
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: { drop: [ALL] }
{{- end }}

{{- define "perdure.containerSettings" -}}
{{ include "perdure.image" . }}
volumeMounts:
  - { name: tmp, mountPath: /tmp }
  - { name: data, mountPath: /data }
{{- if .Values.temporal.tls.secret }}
  - { name: temporal-tls, mountPath: /etc/perdure/temporal-tls, readOnly: true }
{{- end }}
{{- if .Values.models }}
  - { name: models, mountPath: /etc/perdure/models, readOnly: true }
{{- end }}
{{- end }}

{{- define "perdure.envFrom" -}}
envFrom:
  - configMapRef: { name: {{ include "perdure.name" . }} }
  - secretRef: { name: {{ include "perdure.secretName" . }} }
{{- end }}

{{/* Begins the list of a container's own variables. */}}
{{- define "perdure.databaseUrl" -}}
{{- with .Values.database.secret.name }}
- name: DATABASE_URL
  valueFrom: { secretKeyRef: { name: {{ . | quote }}, key: {{ $.Values.database.secret.key | quote }} } }
{{- end }}
{{- end }}

{{/* Changed settings start new Pods. */}}
{{- define "perdure.checksum" -}}
checksum/settings: {{ printf "%s%s" (include (print $.Template.BasePath "/settings.yaml") .) .Values.secret.existing | sha256sum }}
{{- end }}

{{- define "perdure.httpProbes" -}}
startupProbe:
  httpGet: { path: {{ index . 0 }}, port: http }
  periodSeconds: 2
  failureThreshold: 60
livenessProbe:
  httpGet: { path: {{ index . 0 }}, port: http }
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet: { path: {{ index . 1 }}, port: http }
  periodSeconds: 5
  timeoutSeconds: 5
{{- end }}

{{/* Called with (list $ "api"). */}}
{{- define "perdure.budget" -}}
{{- $root := index . 0 }}
{{- if $root.Values.podDisruptionBudget.enabled }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ include "perdure.name" $root }}-{{ index . 1 }}
  labels: {{ include "perdure.labels" . | nindent 4 }}
spec:
  maxUnavailable: {{ $root.Values.podDisruptionBudget.maxUnavailable }}
  selector:
    matchLabels: {{ include "perdure.selector" . | nindent 6 }}
{{- end }}
{{- end }}
