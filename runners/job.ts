/** One job: its key, its name, its labels, and the environment its server gets. Pure; the same everywhere it is derived. */
import { createHash } from 'node:crypto'
import { resolve } from 'node:path'
import type { ValidationRequest } from '../contracts/validation.ts'
import type { JobRef } from '../contracts/validation-record.ts'
import type { Limits, Platform } from '../contracts/validation-serving.ts'
import { digestJson } from '../protocols/digest.ts'
import type { ServingBinary } from '../protocols/serving-binary.ts'

export interface Job {
  ref: JobRef
  /** `jobKeyOf(ref)`. */
  key: string
  /** Name under which the server serves the model. */
  modelName: string
  /** A local path or a URI that is passed on; neither on an endpoint. */
  model: { path?: string; uri?: string; digest: string; version: string }
  binary: ServingBinary
  platform: Platform
  limits: Limits
  /** ISO time after which any reaper may remove the job. */
  expiresAt: string
  /** Host of the worker that owns the job, for runners bound to one. */
  host: string
  /** Values for `valueFrom.secret` entries, by the entry's secret name; masked in logs, never stored. */
  secrets?: Record<string, string>
}

export interface JobSurroundings {
  ref: JobRef
  modelDigest: string
  expiresAt: string
  host: string
  secrets?: Record<string, string>
  /** What the image was resolved to. */
  image?: string | undefined
}

/** The job of one attempt: the spec's part and what is known only when it runs. */
export function jobOf(
  spec: Pick<ValidationRequest, 'model' | 'servingSpec' | 'limits'>,
  binary: ServingBinary,
  { ref, modelDigest, expiresAt, host, secrets, image }: JobSurroundings,
): Job {
  const { path, uri, version } = spec.model
  return {
    ref,
    key: jobKeyOf(ref),
    modelName: spec.servingSpec.modelName,
    model: {
      // The engine mounts by absolute path; so does whoever compares two deliveries.
      ...(path !== undefined && { path: resolve(path) }),
      ...(uri !== undefined && { uri }),
      digest: modelDigest,
      version,
    },
    binary: image === undefined ? binary : { ...binary, image },
    platform: spec.servingSpec.platform,
    limits: spec.limits,
    expiresAt,
    host,
    ...(secrets && { secrets }),
  }
}

/** Secrets that a binary's environment refers to; the worker looks them up where it keeps them. */
export function secretNamesOf(binary: Pick<ServingBinary, 'env'>): string[] {
  return binary.env.flatMap(({ valueFrom }) =>
    valueFrom !== undefined && 'secret' in valueFrom ? [valueFrom.secret] : [],
  )
}

const alphabet = 'abcdefghijklmnopqrstuvwxyz234567'

/** Lower-case base32 (RFC 4648) of SHA-256 over the reference, first 26 characters: 130 bits. */
export function jobKeyOf(ref: JobRef): string {
  const text = [ref.workflowId, ref.runId, ref.binary, ref.attempt].join('\n')
  const digest = createHash('sha256').update(text).digest()
  let key = ''
  for (let index = 0; index < 26; index++) {
    const bit = index * 5
    const pair = ((digest[bit >> 3] ?? 0) << 8) | (digest[(bit >> 3) + 1] ?? 0)
    key += alphabet[(pair >> (11 - (bit & 7))) & 31]
  }
  return key
}

export function jobNameOf(key: string): string {
  return `iv-${key}`
}

/** What two deliveries of one start must agree on; secret values and expiry are left out. */
export function jobSpecDigest(job: Job): string {
  const { ref, modelName, model, binary, platform, limits } = job
  return digestJson({ ref, modelName, model, binary, platform, limits })
}

/** `infra-validation/<name>` labels, as they are; Kubernetes shortens what its rules forbid. */
export function labelsOf(job: Job): Record<string, string> {
  return {
    'infra-validation/job': job.key,
    'infra-validation/workflow-id': job.ref.workflowId,
    'infra-validation/run-id': job.ref.runId,
    'infra-validation/attempt': String(job.ref.attempt),
    'infra-validation/binary': String(job.ref.binary),
    'infra-validation/model-digest': job.model.digest,
    'infra-validation/spec-digest': jobSpecDigest(job),
    'infra-validation/expires-at': job.expiresAt,
    'infra-validation/host': job.host,
  }
}

export interface ServerPlace {
  /** Port numbers as the server must listen on them. */
  ports: Record<string, number>
  /** Where the server finds the model, if it is not remote. */
  modelPath: string
}

/** The job's own variables, before the binary's: the user's entries win and none is there twice. */
export function baseEnvOf(job: Job, place: ServerPlace): Record<string, string> {
  const modelPath = job.model.path === undefined ? (job.model.uri ?? place.modelPath) : place.modelPath
  const named = Object.entries(place.ports).filter(([name]) => name !== 'http')
  return {
    MODEL_NAME: job.modelName,
    MODEL_BASE_PATH: basePathOf(job, modelPath),
    MODEL_PATH: modelPath,
    PORT: String(place.ports.http),
    ...Object.fromEntries(named.map(([name, port]) => [`PORT_${name.toUpperCase()}`, String(port)])),
  }
}

/** TensorFlow Serving adds name and version itself: `/model/<name>/<version>` is the base path `/model`. */
function basePathOf(job: Job, modelPath: string): string {
  if (job.binary.kind !== 'tensorflow_serving') return modelPath
  const tail = `/${job.modelName}/${job.model.version}`
  if (modelPath.endsWith(tail)) return modelPath.slice(0, -tail.length) || '/'
  return modelPath
}

/** Variables, command and arguments for runners that resolve secrets and `$(NAME)` themselves. */
export function launchOf(
  job: Job,
  place: ServerPlace,
): { env: Record<string, string>; command: string[]; args: string[] } {
  const env = baseEnvOf(job, place)
  for (const entry of job.binary.env) {
    const from = entry.valueFrom
    const secret = from !== undefined && 'secret' in from ? job.secrets?.[from.secret] : undefined
    env[entry.name] = secret ?? expand(entry.value ?? '', env)
  }
  return {
    env,
    command: (job.binary.command ?? []).map((word) => expand(word, env)),
    args: (job.binary.args ?? []).map((word) => expand(word, env)),
  }
}

/** Kubernetes' own rule: `$(NAME)` is replaced when known, `$$(NAME)` is the way to write it literally. */
function expand(text: string, env: Record<string, string>): string {
  return text.replace(/\$?\$\(([A-Za-z_][A-Za-z0-9_.-]*)\)/g, (whole, name: string) =>
    whole.startsWith('$$') ? whole.slice(1) : (env[name] ?? whole),
  )
}
