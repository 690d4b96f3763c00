/** Routers that look features up before they route: entities in, rows out (specification, 6). Owns imputation. */

import { VotingEnsemble, type VotingEnsembleOptions } from './ensemble.ts'
import { ValueError } from './errors.ts'
import { isPlainObject, type ModelEvent } from './event.ts'
import type { Awaitable } from './model.ts'
import { ModelRouter, type RouterOptions } from './router.ts'

/** Figures of one feature, for imputation. */
export interface FeatureStatistics {
  mean?: number
  max?: number
  min?: number
  std?: number
  count?: number
}

export interface FeatureService {
  /** One row per entity, in order. */
  get(entities: readonly unknown[]): Awaitable<unknown[][]>
  /** Names of the columns; needed to impute a single one. */
  readonly features?: readonly string[]
  /** By column; needed for `$mean` and its like. */
  readonly statistics?: Readonly<Record<string, FeatureStatistics>>
}

export interface Enrichment {
  /** Shown to who reads the configuration; the service knows its own features. */
  featureVectorUri?: string
  featureService: FeatureService
  /** By column, or `*` for all others: a constant, or `$mean`, `$max`, `$min`, `$std`, `$count`. */
  imputePolicy?: Record<string, unknown>
}

export class EnrichmentModelRouter extends ModelRouter {
  readonly #enrichment: Enrichment

  constructor(options: RouterOptions & Enrichment) {
    super(options)
    this.#enrichment = checked(options)
  }

  protected override async answer(event: ModelEvent): Promise<unknown> {
    await enrich(event, this.#enrichment)
    return super.answer(event)
  }
}

export class EnrichmentVotingEnsemble extends VotingEnsemble {
  readonly #enrichment: Enrichment

  constructor(options: VotingEnsembleOptions & Enrichment) {
    super(options)
    this.#enrichment = checked(options)
  }

  protected override async answer(event: ModelEvent): Promise<unknown> {
    await enrich(event, this.#enrichment)
    return super.answer(event)
  }
}

/** Replaces `inputs` by rows. GET and bodies without `inputs` pass. */
async function enrich(event: ModelEvent, { featureService, imputePolicy }: Enrichment): Promise<void> {
  const { body, method } = event
  if (method === 'GET' || !isPlainObject(body) || !Array.isArray(body.inputs)) return
  const rows = await featureService.get(body.inputs)
  const inputs =
    imputePolicy === undefined ? rows : rows.map((row) => imputed(row, imputePolicy, featureService))
  event.body = { ...body, inputs }
}

function imputed(
  row: readonly unknown[],
  policy: Record<string, unknown>,
  service: FeatureService,
): unknown[] {
  return row.map((value, column) => {
    if (value !== null && value !== undefined && !Number.isNaN(value)) return value
    const name = service.features?.[column] ?? String(column)
    const rule = Object.hasOwn(policy, name) ? policy[name] : policy['*']
    if (rule === undefined) return value
    return ruleOf(rule, name, service)
  })
}

const statistics = ['mean', 'max', 'min', 'std', 'count'] as const

function isStatistic(rule: unknown): rule is (typeof statistics)[number] {
  return statistics.some((name) => name === rule)
}

function ruleOf(rule: unknown, name: string, service: FeatureService): unknown {
  if (typeof rule !== 'string' || !rule.startsWith('$')) return rule
  const statistic = rule.slice(1)
  return isStatistic(statistic) ? (service.statistics?.[name]?.[statistic] ?? null) : rule
}

function checked(options: Enrichment): Enrichment {
  const { featureService, imputePolicy } = options
  for (const [column, rule] of Object.entries(imputePolicy ?? {})) {
    if (column !== '*' && featureService.features?.includes(column) === false) {
      throw new ValueError(`impute policy names an unknown feature ${column}`)
    }
    if (typeof rule === 'string' && rule.startsWith('$') && !isStatistic(rule.slice(1))) {
      throw new ValueError(`impute policy of ${column} names an unknown statistic ${rule}`)
    }
  }
  return options
}
