/** The Helm chart as Helm renders it, and the shapes of its objects that tests look into. */
import { execFileSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { parseAllDocuments } from 'yaml'
import { z } from 'zod'
import { helmProgram, scaledObjectDefinition } from '../../scripts/helm.mjs'
import { requirement } from './require.ts'

export const chart = fileURLToPath(new URL('../../deploy/helm/perdure', import.meta.url))
export const helm = helmProgram()
export const definition = scaledObjectDefinition()
export const needsHelm = requirement(
  'helm',
  () => (helm !== undefined && definition !== undefined) || 'it is not built (node scripts/helm.mjs)',
)

export const Rendered = z.looseObject({
  apiVersion: z.string(),
  kind: z.string(),
  metadata: z.looseObject({ name: z.string(), labels: z.record(z.string(), z.string()) }),
})
export type Rendered = z.infer<typeof Rendered>

const Container = z.looseObject({
  name: z.string(),
  ports: z.array(z.object({ name: z.string(), containerPort: z.number() })).default([]),
  env: z.array(z.looseObject({ name: z.string() })).default([]),
  securityContext: z.unknown(),
  volumeMounts: z.array(z.looseObject({ name: z.string(), mountPath: z.string() })).default([]),
  livenessProbe: z.unknown().optional(),
  readinessProbe: z.unknown().optional(),
})
export const Pods = z.looseObject({
  replicas: z.number().optional(),
  selector: z.object({ matchLabels: z.record(z.string(), z.string()) }),
  template: z.looseObject({
    metadata: z.looseObject({
      labels: z.record(z.string(), z.string()),
      annotations: z.record(z.string(), z.string()).default({}),
    }),
    spec: z.looseObject({
      terminationGracePeriodSeconds: z.number().optional(),
      automountServiceAccountToken: z.boolean(),
      securityContext: z.unknown(),
      volumes: z
        .array(
          z.looseObject({
            name: z.string(),
            persistentVolumeClaim: z.object({ claimName: z.string() }).optional(),
          }),
        )
        .default([]),
      containers: z.array(Container),
    }),
  }),
})

export const required = [
  'temporal.address=temporal:7233',
  'secret.values.DATABASE_URL=postgres://u:p@db/perdure',
]
export const everything = [
  ...['records.enabled=true', 'model.enabled=true', 'worker.keda.enabled=true'],
  ...['worker.kubernetesRunner=true', 'data.existingClaim=perdure', 'uploads.existingClaim=uploads'],
  ...['database.secret.name=perdure-app', 'migrate.enabled=true', 'temporal.tls.secret=temporal-client'],
  ...['models.iris.platform=v2', 'models.iris.address=iris:8080'],
  ...[
    'api.ingress.enabled=true',
    'api.ingress.host=perdure.example.com',
    'api.ingress.tlsSecret=perdure-tls',
  ],
]

/** What Helm makes of the chart. Throws what Helm says. */
export function render(...values: string[]): Rendered[] {
  const settings = values.flatMap((value) => ['--set', value])
  const text = execFileSync(helm ?? '', ['template', 'p', chart, '--kube-version', '1.34.0', ...settings], {
    encoding: 'utf8',
    timeout: 60_000,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  return parseAllDocuments(text)
    .map((document): unknown => document.toJS())
    .filter((object) => object !== null)
    .map((object) => Rendered.parse(object))
}

export const podsOf = (objects: Rendered[]) =>
  objects
    .filter(({ kind }) => kind === 'Deployment')
    .map(({ metadata, spec }): [string, z.infer<typeof Pods>] => [metadata.name, Pods.parse(spec)])
