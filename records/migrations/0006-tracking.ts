/** What model servers say of themselves: tracking records and model endpoints. */
import type { SchemaWords } from '../sql/migrations/migration.ts'

export function tracking({ identity }: SchemaWords): string[] {
  return [
    `create table tracking_records (
      seq ${identity},
      project text not null,
      model text not null,
      version text not null,
      failed bigint not null,
      body text not null,
      created_at bigint not null
    )`,
    `create index tracking_records_of_model on tracking_records (model, seq)`,
    `create index tracking_records_by_age on tracking_records (created_at)`,
    `create table model_endpoints (
      project text not null,
      uid text not null,
      model text not null,
      body text not null,
      created_at bigint not null,
      primary key (project, uid)
    )`,
  ]
}
