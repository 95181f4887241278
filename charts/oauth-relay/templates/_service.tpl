{{/* What oauth-relay has and the other services have not. */}}

{{- define "oauth-relay.checks" -}}
{{- if or (gt (int .Values.replicas) 1) .Values.autoscaling.enabled -}}
{{- fail "oauth-relay runs as one replica: a program waits at one process, and a callback that reached another would be lost. Leave replicas at 1 and autoscaling off." -}}
{{- end -}}
{{- if ne .Values.strategy.type "Recreate" -}}
{{- fail "oauth-relay is replaced by strategy Recreate: during a surge callbacks would reach the pod that nobody waits at." -}}
{{- end -}}
{{- include "service.requireIssuer" . -}}
{{- include "service.requireSecret" (dict "root" . "secret" .Values.client.existingSecret "keys" (list "client_id" "client_secret")
  "create" "install charts/auth-api first, which makes it, or: kubectl -n NAMESPACE create secret generic mozaiks-client-oauth-relay-service --from-literal=client_id=oauth-relay-service --from-literal=client_secret=<secret>") -}}
{{- end }}

{{- define "oauth-relay.config" -}}
AUTH_API_URL: {{ .Values.peers.authApi | quote }}
OAUTH_ENABLED: "true"
OAUTH_ALLOW_STATELESS: "false"
OAUTH_CALLBACK_PATH: {{ .Values.callbackPath | quote }}
{{- /* For `kubectl exec … oauth-relay wait`: an emptyDir is open to everybody and has no sticky bit, which the relay refuses for its socket. */}}
OAUTH_USE_TCP: "true"
OAUTH_TCP_BIND_ADDRESS: "127.0.0.1"
OAUTH_HOLD_SECONDS: {{ .Values.holdSeconds | quote }}
OAUTH_MAX_TIMEOUT: {{ .Values.maxTimeoutSeconds | quote }}
OAUTH_MAX_WAITERS: {{ .Values.maxWaiters | quote }}
OAUTH_DUPLICATE: {{ .Values.duplicate | quote }}
{{- end }}

{{- define "oauth-relay.secretVariables" -}}
{{ include "service.secretVariable" (dict "variable" "CLIENT_ID" "secret" .Values.client.existingSecret "key" "client_id") }}
{{ include "service.secretVariable" (dict "variable" "CLIENT_SECRET" "secret" .Values.client.existingSecret "key" "client_secret") }}
{{- end }}

{{- define "oauth-relay.volumeMounts" -}}{{- end }}
{{- define "oauth-relay.volumes" -}}{{- end }}

{{- define "oauth-relay.secretContents" -}}
{{ include "service.liveSecret" (dict "root" . "secret" .Values.client.existingSecret) }}
{{- end }}

{{- define "oauth-relay.egress" -}}
{{ include "service.egressToUrl" (dict "url" .Values.peers.authApi "name" "auth-api") }}
{{- end }}

{{- /* The end of a poll that nobody answered. */}}
{{- define "oauth-relay.testPath" -}}/oauth/wait?state=helm-test-0123456789abcdef&timeout=1{{- end }}
{{- define "oauth-relay.testStatus" -}}408{{- end }}

{{- define "oauth-relay.notes" -}}
Register {{ .Values.publicUrl }}{{ .Values.callbackPath }} at providers. Programs in other pods wait at GET /oauth/wait with a token that has relay:wait.
{{- end }}
