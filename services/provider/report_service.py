"""The calls about reports that people and their tables read: a message in, the ledger asked, a message out."""

import csv
import io

import grpc
from google.api.httpbody_pb2 import HttpBody
from tooloo.provider.v1 import report_service_pb2 as api
from tooloo.provider.v1.report_service_pb2_grpc import ReportServiceServicer

from mesh import errors
from mesh.host import Host
from services.provider import wire
from services.provider.flows import reporting
from services.provider.flows.known import Known
from services.provider.report import csv_lines

Context = grpc.aio.ServicerContext[object, object]


class ReportService(ReportServiceServicer):
    """Answers tooloo.provider.v1.ReportService."""

    def __init__(self, host: Host, known: Known) -> None:
        self._host = host
        self._known = known

    async def GetBudgetReportCsv(self, request: api.GetBudgetReportCsvRequest, context: Context) -> HttpBody:
        """The report as a table."""
        known = self._known.settings
        labels = wire.from_filter(known, request.labels)
        span = reporting.span_of(known, *wire.from_span(request), labels, self._host.clock.now())
        zone = wire.checked_zone(request.time_zone, "time_zone")
        most = known.max_csv_rows
        groups = await self._host.db.read(lambda tx: reporting.groups(tx, request.group_by, span, zone, {}, most + 1))
        if len(groups) > most:
            raise errors.exhausted("max_csv_rows", f"the report has more than {most} rows; ask for a shorter time, or page it")
        table = io.StringIO()
        csv.writer(table, lineterminator="\r\n").writerows(csv_lines(groups, request.group_by or "provider"))
        return HttpBody(content_type="text/csv; charset=utf-8; header=present", data=table.getvalue().encode())

    async def GetBudgetForecast(self, request: api.GetBudgetForecastRequest, context: Context) -> api.GetBudgetForecastResponse:
        """What the month will come to."""
        known, now = self._known.settings, self._host.clock.now()
        labels = wire.from_filter(known, request.labels)
        zone = wire.checked_zone(request.time_zone, "time_zone")
        month, expected = await self._host.db.read(lambda tx: reporting.forecast(tx, labels, zone, now))
        return api.GetBudgetForecastResponse(
            period_start=wire.to_timestamp(month.start),
            period_end=wire.to_timestamp(month.end),
            spent=wire.to_money(expected.spent),
            expected=wire.to_money(expected.expected),
            low=wire.to_money(expected.low),
            high=wire.to_money(expected.high),
            days=expected.days,
        )
