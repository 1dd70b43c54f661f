"""The paths of the project."""

from django.urls import path
from reports import api, views

urlpatterns = [
    path("", views.index),
    path("healthz", views.healthz),
    path("reports", views.reports),
    path("reports/later", views.reports_later),
    path("api/reports", api.Reports.as_view()),
]
