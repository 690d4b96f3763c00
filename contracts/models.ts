/** The models file (`PERDURE_MODELS`): which model is served where. Owns its shape; reading and routing are platforms/routing.ts. */
import { z } from 'zod'
import { durationMs } from './durations.ts'
import { platformNames } from './names.ts'

export const gateModes = ['off', 'warn', 'required'] as const
export type GateMode = (typeof gateModes)[number]

const digest = z.string().regex(/^sha256:[0-9a-f]{64}$/, 'must be sha256: and 64 hexadecimal digits')

const address = z
  .string()
  .regex(/^(https?:\/\/)?([\w.-]+|\[[0-9a-f:.]+\])(:\d{1,5})?$/i, 'must be host:port, without a path')

const duration = z
  .union([z.string(), z.number().positive()])
  .refine((value) => (durationMs(String(value)) ?? 0) > 0, 'must be a duration such as 30s or 5m')

/** One line of the file. What is absent comes from the platform's own settings. */
export const ModelLine = z
  .strictObject({
    platform: z.enum(platformNames).meta({ description: 'Where the model is served' }),
    address: address.optional().meta({ description: 'host:port', example: '127.0.0.1:8080' }),
    upstream_name: z
      .string()
      .min(1)
      .optional()
      .meta({ description: 'Name at the server; replicate: version id; runpod: endpoint id' }),
    protocol: z
      .enum(['v1', 'v2', 'mlrun', 'oip'])
      .optional()
      .meta({ description: 'kserve: v1 or v2; v2: mlrun or oip' }),
    timeout: duration
      .optional()
      .meta({ description: 'Longest one attempt (one job) may take', example: '30s' }),
    concurrency: z
      .number()
      .int()
      .min(1)
      .optional()
      .meta({ description: 'Most calls of one process at once' }),
    gate: z.enum(gateModes).optional().meta({ description: 'Overrides GATE for this model' }),
    versions: z
      .array(z.union([z.string().min(1), z.number()]))
      .optional()
      .meta({ description: 'Names of versions that may be asked for' }),
    model_digest: digest.optional().meta({ description: 'Digest of the model that is live' }),
    image_digest: digest.optional().meta({ description: 'Digest of the server image that is live' }),
  })
  .superRefine((line, context) => {
    const allowed = protocolsOf[line.platform]
    if (line.protocol !== undefined && !allowed.includes(line.protocol)) {
      const message =
        allowed.length === 0
          ? `${line.platform} has no protocol to choose`
          : `must be ${allowed.join(' or ')}`
      context.addIssue({ code: 'custom', path: ['protocol'], message })
    }
    if (line.address !== undefined && (line.platform === 'replicate' || line.platform === 'runpod')) {
      // Keys go to the configured origin only.
      const message = `is set by ${line.platform.toUpperCase()}_ADDRESS, for all models`
      context.addIssue({ code: 'custom', path: ['address'], message })
    }
  })
  .meta({ id: 'ModelLine' })
export type ModelLine = z.infer<typeof ModelLine>

const protocolsOf: Record<ModelLine['platform'], readonly string[]> = {
  kserve: ['v1', 'v2'],
  v2: ['mlrun', 'oip'],
  k8s: [],
  replicate: [],
  runpod: [],
}

export const ModelsFile = z
  .strictObject({ models: z.record(z.string().min(1), ModelLine) })
  .superRefine(({ models }, context) => {
    const owners = new Map(Object.keys(models).map((name) => [name, name]))
    for (const [name, line] of Object.entries(models)) {
      for (const version of (line.versions ?? []).map(String)) {
        const owner = owners.get(version)
        if (owner !== undefined) {
          const message = `${version} already names ${owner === version ? 'a model' : `a version of ${owner}`}`
          context.addIssue({ code: 'custom', path: ['models', name, 'versions'], message })
        }
        owners.set(version, name)
      }
    }
  })
  .meta({ id: 'ModelsFile' })
export type ModelsFile = z.infer<typeof ModelsFile>
