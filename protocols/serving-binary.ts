/** Turns a serving spec into serving binaries: one per image, tag and digest, with the defaults of its kind. */
import { ServiceError } from '../contracts/errors.ts'
import type {
  Binary,
  BinaryKind,
  CustomInference,
  CustomReadiness,
  EnvEntry,
  ServingSpec,
} from '../contracts/validation-serving.ts'

/** What serves: exactly one image or command. */
export interface ServingBinary {
  kind: BinaryKind
  /** Position among the spec's binaries; part of the job key. */
  index: number
  /** `name:tag` or `name@sha256:…`. */
  image?: string
  command?: string[]
  args?: string[]
  cwd?: string
  env: EnvEntry[]
  /** Ports by name; `http` is always there. */
  ports: Record<string, number>
  modelMountPath: string
  modelVersion?: string
  statusVia?: 'rest' | 'grpc'
  readiness?: CustomReadiness
  inference?: CustomInference
}

const defaultPorts: Record<BinaryKind, Record<string, number>> = {
  tensorflow_serving: { http: 8501, grpc: 8500 },
  'open-inference-v2': { http: 8080 },
  'kserve-v1': { http: 8080 },
  cog: { http: 5000 },
  'mlrun-v2': { http: 8080 },
  custom: { http: 8080 },
}

/** All binaries of a spec, tags before digests. Throws `CONFIG_INVALID` when there is none (BUG-01). */
export function binariesOf(
  spec: ServingSpec,
  model: { name?: string | undefined; version: string },
): ServingBinary[] {
  const { binary } = spec
  const images = imagesOf(binary)
  if (spec.platform.kind === 'process' && binary.command === undefined) throw noBinary('command')
  const container = spec.platform.kind === 'docker' || spec.platform.kind === 'kubernetes'
  if (container && images.length === 0) throw noBinary('image')
  const shared = {
    kind: binary.kind,
    ...(binary.command && { command: binary.command }),
    ...(binary.args && { args: binary.args }),
    ...(binary.cwd && { cwd: binary.cwd }),
    env: binary.env,
    ports: {
      ...defaultPorts[binary.kind],
      ...(binary.port && { http: binary.port }),
      ...binary.ports,
    },
    modelMountPath: binary.modelMountPath ?? mountPath(binary.kind, spec.modelName, model.version),
    ...(binary.modelVersion && { modelVersion: binary.modelVersion }),
    ...(binary.statusVia && { statusVia: binary.statusVia }),
    ...(binary.readiness && { readiness: binary.readiness }),
    ...(binary.inference && { inference: binary.inference }),
  }
  return container ? images.map((image, index) => ({ ...shared, index, image })) : [{ ...shared, index: 0 }]
}

function imagesOf(binary: Binary): string[] {
  if (binary.image !== undefined) return [binary.image]
  const name = binary.imageName ?? (binary.kind === 'tensorflow_serving' ? 'tensorflow/serving' : undefined)
  if (name === undefined) return []
  return [
    ...(binary.tags ?? []).map((tag) => `${name}:${tag}`),
    ...(binary.digests ?? []).map((digest) => `${name}@${digest}`),
  ]
}

function mountPath(kind: BinaryKind, modelName: string, version: string): string {
  return kind === 'tensorflow_serving' ? `/model/${modelName}/${version}` : '/mnt/models'
}

function noBinary(field: string): ServiceError {
  return new ServiceError(
    'CONFIG_INVALID',
    `servingSpec.binary.${field}: is missing: the spec yields no serving binary`,
  )
}
