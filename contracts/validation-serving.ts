/** Schemas of what serves a candidate and where: serving binary, platform, limits. Defaults included; no rules across fields. */
import { z } from 'zod'

const name = z.string().min(1)
const port = z.int().min(1).max(65535)

/** `value`, a reference that each runner resolves for itself, or the name alone (an empty string). */
export const EnvEntry = z
  .strictObject({
    name: name.regex(/^[A-Za-z_][A-Za-z0-9_.-]*$/, 'is not a name of an environment variable'),
    value: z.string().optional(),
    valueFrom: z
      .union(
        [
          z.strictObject({ secretKeyRef: z.strictObject({ name, key: name }) }),
          z.strictObject({ configMapKeyRef: z.strictObject({ name, key: name }) }),
          z.strictObject({
            /** Read from `PERDURE_SECRET_<name>` of the worker that starts the job; never stored. */
            secret: name.regex(/^[A-Z0-9_]+$/, 'may hold capital letters, digits and underscores'),
          }),
        ],
        { error: 'names no known reference: secretKeyRef, configMapKeyRef or secret' },
      )
      .optional(),
  })
  .refine((entry) => entry.value === undefined || entry.valueFrom === undefined, {
    error: 'has both value and valueFrom',
  })
export type EnvEntry = z.infer<typeof EnvEntry>

export const binaryKinds = [
  'tensorflow_serving',
  'open-inference-v2',
  'kserve-v1',
  'cog',
  'mlrun-v2',
  'custom',
] as const
export type BinaryKind = (typeof binaryKinds)[number]

/** Compares one place of a JSON body: `a.b[0].c`. Without `equals` the place must exist. */
const bodyRule = z.strictObject({ jsonPath: name, equals: z.unknown().optional() })
export type BodyRule = z.infer<typeof bodyRule>

const status = z.int().min(100).max(599)

export const CustomReadiness = z
  .strictObject({
    http: z
      .strictObject({
        path: z.string().startsWith('/'),
        expectStatus: status.default(200),
        jsonPath: name.optional(),
        equals: z.unknown().optional(),
      })
      .optional(),
    tcp: z.literal(true).optional(),
    log: z.strictObject({ pattern: name }).optional(),
    /** A pattern on the logs that ends the wait: the model will never load. */
    failurePattern: name.optional(),
    /** A rule on the body of the readiness answer that ends the wait. */
    failWhen: bodyRule.optional(),
  })
  .refine((readiness) => [readiness.http, readiness.tcp, readiness.log].filter(Boolean).length === 1, {
    error: 'needs exactly one of http, tcp and log',
  })
export type CustomReadiness = z.infer<typeof CustomReadiness>

export const CustomInference = z.strictObject({
  method: z.enum(['GET', 'POST', 'PUT', 'PATCH']).default('POST'),
  path: z.string().startsWith('/').default('/'),
  headers: z.record(name, z.string()).default({}),
  expectStatus: status.default(200),
  /** Where the outputs lie in the answer; default: the whole body. */
  outputs: name.optional(),
})
export type CustomInference = z.infer<typeof CustomInference>

/** The server: an image (or several, one binary per tag and digest) or a command, and how to call it. */
export const Binary = z.strictObject({
  kind: z.enum(binaryKinds),
  /** `name:tag` or `name@digest`. */
  image: name.optional(),
  /** With `tags` and `digests`; `tensorflow/serving` for `tensorflow_serving`. */
  imageName: name.optional(),
  tags: z.array(name).optional(),
  digests: z.array(z.string().regex(/^sha256:[0-9a-f]{64}$/, 'is not sha256:<64 hex digits>')).optional(),
  /** `$(NAME)` stands for the job's environment variable, `PORT` and `MODEL_PATH` among them. */
  command: z.array(z.string()).min(1).optional(),
  args: z.array(z.string()).optional(),
  env: z.array(EnvEntry).default([]),
  /** Process runner only. */
  cwd: name.optional(),
  /** Port that answers HTTP; default by kind. The process runner picks a free one and passes it as `PORT`. */
  port: port.optional(),
  /** Further ports by name, passed as `PORT_<NAME>`; `grpc` is known to TensorFlow Serving. */
  ports: z.record(z.string().regex(/^[a-z][a-z0-9]{0,14}$/), port).default({}),
  /** Where the model is mounted in a container. */
  modelMountPath: z.string().startsWith('/').optional(),
  /** Version in the URLs of the server, where it has them. */
  modelVersion: name.optional(),
  /** `tensorflow_serving` only: how its status is asked. Requests go by REST. */
  statusVia: z.enum(['rest', 'grpc']).optional(),
  readiness: CustomReadiness.optional(),
  inference: CustomInference.optional(),
})
export type Binary = z.infer<typeof Binary>

/** The same as production's; absent = unlimited. */
export const Limits = z.strictObject({
  memoryBytes: z
    .int()
    .min(6 * 1024 * 1024)
    .optional(),
  cpus: z.number().positive().optional(),
  gpus: z.int().positive().optional(),
  pids: z.int().positive().optional(),
})
export type Limits = z.infer<typeof Limits>

const DockerPlatform = z.strictObject({
  kind: z.literal('docker'),
  /** `unix:///var/run/docker.sock` or `tcp://host:2375`; default: the worker's own. */
  baseUrl: name.optional(),
  apiVersion: z
    .string()
    .regex(/^v?\d+\.\d+$/)
    .optional(),
  clientTimeoutSeconds: z.number().positive().default(60),
  /** Where published ports are reached. */
  hostIp: name.default('127.0.0.1'),
  pullPolicy: z.enum(['Always', 'IfNotPresent', 'Never']).default('IfNotPresent'),
  user: name.optional(),
  readOnlyRoot: z.boolean().default(false),
  /** Scratch folders when the root is read-only. */
  tmpfs: z.array(z.string().startsWith('/')).default([]),
  /** An existing network, an internal one for instance; the container is then reached at its address there. */
  network: name.optional(),
  /** Capabilities to give back; all are dropped. */
  capAdd: z.array(name).default([]),
})

const json = z.record(z.string(), z.unknown())

const KubernetesPlatform = z.strictObject({
  kind: z.literal('kubernetes'),
  namespace: name.optional(),
  /** One that the worker knows by this name (`KUBERNETES_CLUSTERS`); default: its `KUBECONFIG`, else the one it runs in. */
  cluster: name.optional(),
  context: name.optional(),
  serviceAccountName: name.optional(),
  activeDeadlineSeconds: z.int().positive().default(86_400),
  labels: z.record(name, z.string()).default({}),
  annotations: z.record(name, z.string()).default({}),
  owner: z.strictObject({ apiVersion: name, kind: name, name, uid: name }).optional(),
  imagePullPolicy: z.enum(['Always', 'IfNotPresent', 'Never']).default('IfNotPresent'),
  imagePullSecrets: z.array(name).default([]),
  nodeSelector: z.record(name, z.string()).optional(),
  /** Sets the node directly, past the scheduler. */
  nodeName: name.optional(),
  tolerations: z.array(json).default([]),
  affinity: json.optional(),
  priorityClassName: name.optional(),
  runtimeClassName: name.optional(),
  schedulerName: name.optional(),
  runAsNonRoot: z.boolean().optional(),
  fsGroup: z.int().optional(),
  /** Replaces the container's own. */
  securityContext: json.optional(),
  /** Given exactly as written; otherwise made of `limits`. */
  resources: z
    .strictObject({
      requests: z.record(name, z.string()).optional(),
      limits: z.record(name, z.string()).optional(),
    })
    .optional(),
  /** The claim that holds the model, and the model's path on it. */
  modelClaim: z.strictObject({ claimName: name, subPath: name.optional() }).optional(),
  /** Other volume kinds for the model, as Kubernetes spells them. */
  modelVolume: json.optional(),
  unschedulableGraceSeconds: z.number().nonnegative().default(60),
})

export const Platform = z.discriminatedUnion('kind', [
  DockerPlatform,
  KubernetesPlatform,
  z.strictObject({ kind: z.literal('process') }),
  z.strictObject({
    kind: z.literal('endpoint'),
    /** `host:port` of a server that is already up; never stopped. */
    address: z.string().regex(/^\S+:\d+$/, 'is not host:port'),
    /** Further ports by name. */
    addresses: z.record(name, z.string().regex(/^\S+:\d+$/)).default({}),
    /** Refused connections in a row that mean: lost. */
    lostAfterPolls: z.int().min(1).default(3),
  }),
])
export type Platform = z.infer<typeof Platform>
export type PlatformKind = Platform['kind']
export const platformKinds = [
  'process',
  'docker',
  'kubernetes',
  'endpoint',
] as const satisfies readonly PlatformKind[]
export type PlatformOf<K extends PlatformKind> = Extract<Platform, { kind: K }>

export const ServingSpec = z.strictObject({
  modelName: z
    .string()
    .regex(/^[A-Za-z0-9][A-Za-z0-9._-]*$/, 'is not a model name')
    .default('infra-validation-model'),
  binary: Binary,
  platform: Platform,
})
export type ServingSpec = z.infer<typeof ServingSpec>
